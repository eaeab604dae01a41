package configs_test

import (
	"testing"

	"dormouse/configs"
)

func TestBytesText(t *testing.T) {
	for text, want := range map[string]configs.Bytes{
		"0": 0, "1": 1, "17B": 17, "64MiB": 64 << 20, "1536 KiB": 1536 << 10, "2GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		var b, again configs.Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: got %d, %v; want %d", text, b, err, want)
		}
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s: %s is read back as %d, %v", text, b, again, err)
		}
	}
	for _, text := range []string{"", "MiB", "64MB", "1.5GiB", "-1", "-1MiB", "9000000TiB", "many"} {
		b := configs.Bytes(7)
		if err := b.UnmarshalText([]byte(text)); err == nil || b != 7 {
			t.Errorf("%q: got %d and error %v", text, b, err)
		}
	}
}
