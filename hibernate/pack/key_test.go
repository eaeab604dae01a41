package pack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadKey(t *testing.T) {
	want := bytes.Repeat([]byte{1}, keySize)
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		good bool
	}{
		"bytes":      {string(want), 0o600, true},
		"digits":     {strings.Repeat("01", 32) + "\n", 0o440, true},
		"too short":  {"0101", 0o600, false},
		"no digits":  {strings.Repeat("x", 64), 0o600, false},
		"everyone's": {string(want), 0o604, false},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := errors.Join(os.WriteFile(path, []byte(test.text), 0o600), os.Chmod(path, test.mode)); err != nil {
			t.Fatal(err)
		}
		key, err := ReadKey(path)
		if good := err == nil && bytes.Equal(key, want); good != test.good {
			t.Errorf("%s: %x, %v", name, key, err)
		}
	}
}
