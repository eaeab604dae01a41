package configs_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestStateTable(t *testing.T) {
	got, err := configs.Load(write(t, "x.toml", `
[state]
max-keys = 0
max-key-bytes = "1MiB"
max-blobs = 7
max-blob-bytes = "2GiB"
max-bytes = "0"
`), nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.State{MaxKeyBytes: 1 << 20, MaxBlobs: 7, MaxBlobBytes: 2 << 30}
	if diff := cmp.Diff(want, got.State); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongStateTable(t *testing.T) {
	for text, want := range map[string]string{
		`max-keys = -1`:         `key "max-keys" in [state]: -1 is not between 0 and 2147483647`,
		`max-blob-bytes = "4G"`: `key "max-blob-bytes" in [state]: "4G" is not a size such as "64MiB"`,
		`max-blob = 1`:          `unknown key "max-blob" in [state]: did you mean "max-blobs"?`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[state]\n"+text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
