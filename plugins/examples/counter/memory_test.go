package main

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"testing"

	"dormouse/plugins/sdk"
)

func TestFillInInitialize(t *testing.T) {
	c := start(t, `{"fill":2}`)
	if len(c.memory.data) != 2*mebibyte {
		t.Errorf("it has %d bytes", len(c.memory.data))
	}
}

func TestFill(t *testing.T) {
	c := start(t, "")
	empty := hex.EncodeToString(sha256.New().Sum(nil))
	if got := must[digestResult](t, c, "digest", ""); got.SHA256 != empty {
		t.Errorf("before the first fill the digest is %s", got.SHA256)
	}
	for _, test := range []struct {
		pattern   string
		least     int // compressed size of 2 MiB in KiB
		most      int
		different bool // from one fill to the next
	}{
		{"zero", 0, 10, false},
		{"text", 400, 800, true},
		{"random", 2048, 2100, true},
	} {
		params := fmt.Sprintf(`{"mib": 2, "pattern": %q}`, test.pattern)
		first := must[fillResult](t, c, "fill", params)
		if got := must[digestResult](t, c, "digest", ""); first.MiB != 2 || got.SHA256 != first.SHA256 {
			t.Errorf("%s: fill says %+v, digest %s", test.pattern, first, got.SHA256)
		}
		var size counted
		compressor, err := flate.NewWriter(&size, flate.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(compressor, bytes.NewReader(c.memory.data)); err != nil {
			t.Fatal(err)
		}
		if kib := int(size) / 1024; kib < test.least || kib > test.most {
			t.Errorf("%s: 2 MiB compress to %d KiB", test.pattern, kib)
		}
		if again := must[fillResult](t, c, "fill", params); (again != first) != test.different {
			t.Errorf("%s: filled twice, got %s and %s", test.pattern, first.SHA256, again.SHA256)
		}
	}
	if got := must[fillResult](t, c, "fill", `{"mib": 0}`); got.SHA256 != empty {
		t.Errorf("a fill of nothing has the digest %s", got.SHA256)
	}
}

// counted is the number of bytes written to it.
type counted int

func (c *counted) Write(p []byte) (int, error) {
	*c += counted(len(p))
	return len(p), nil
}

func TestFillEndsWithItsCaller(t *testing.T) {
	c := start(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := c.Methods()["fill"](ctx, sdk.Call{Params: []byte(`{"mib": 64}`)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
