package configs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestTasksTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[tasks]
keep = "1h"
keep-count = 0
cancel-grace = "1s"
follow-every = "5s"
max-pending = 1
output-bytes = "1KiB"
all-output-bytes = "64KiB"
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Tasks{
		Keep: configs.Duration(time.Hour), CancelGrace: configs.Duration(time.Second), FollowEvery: configs.Duration(5 * time.Second), MaxPending: 1,
		OutputBytes: 1 << 10, AllOutputBytes: 64 << 10,
	}
	if diff := cmp.Diff(want, got.Tasks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongTasksTable(t *testing.T) {
	for text, want := range map[string]string{
		`keep = "0s"`:          `key "keep" in [tasks]: "0s" must be more than zero`,
		`keep-count = -1`:      `key "keep-count" in [tasks]: -1 is not between 0 and 2147483647`,
		`follow-every = "9ms"`: `key "follow-every" in [tasks]: 9ms is less than 1s`,
		`max-pending = 0`:      `key "max-pending" in [tasks]: 0 is not between 1 and 2147483647`,
		`output-bytes = "big"`: `key "output-bytes" in [tasks]: "big" is not a size such as "64MiB"`,
		`keep-cont = 1`:        `unknown key "keep-cont" in [tasks]: did you mean "keep-count"?`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[tasks]\n"+text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
