package configs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestFlowsTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[flows]
max-messages = 0
max-bytes = "64MiB"
wake-messages = 1
wake-after = "1m"
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Flows{MaxBytes: 64 << 20, WakeMessages: 1, WakeAfter: configs.Duration(time.Minute)}
	if diff := cmp.Diff(want, got.Flows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongFlowsTable(t *testing.T) {
	for text, want := range map[string]string{
		`max-messages = -1`: `key "max-messages" in [flows]: -1 is not between 0 and 2147483647`,
		`max-bytes = "big"`: `key "max-bytes" in [flows]: "big" is not a size such as "64MiB"`,
		`wake-messages = 0`: `key "wake-messages" in [flows]: 0 is not between 1 and 2147483647`,
		`wake-after = "0s"`: `key "wake-after" in [flows]: "0s" must be more than zero`,
		`wake-afer = "1s"`:  `unknown key "wake-afer" in [flows]: did you mean "wake-after"?`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[flows]\n"+text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}
