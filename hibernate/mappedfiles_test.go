package hibernate

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dormouse/hibernate/pack"
)

func TestCheckMappedFiles(t *testing.T) {
	tagger, err := pack.NewTagger(make([]byte, 32), "image")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		change  func(path string) error
		refused bool
	}{
		"the same":         {change: func(string) error { return nil }},
		"touched":          {change: func(path string) error { return os.WriteFile(path, []byte("code"), 0o700) }},
		"an equal copy":    {change: func(path string) error { return replaceFile(path, "code") }},
		"one byte changed": {change: func(path string) error { return os.WriteFile(path, []byte("c0de"), 0o700) }, refused: true},
		"another build":    {change: func(path string) error { return replaceFile(path, "other code") }, refused: true},
		"gone":             {change: os.Remove, refused: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte("code"), 0o700); err != nil {
				t.Fatal(err)
			}
			m, err := statMappedFile(path)
			if err == nil {
				err = m.computeAndSetTag(tagger, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			err = checkMappedFilesUnchanged([]mappedFile{m}, tagger)
			if errors.Is(err, ErrRefused) != test.refused {
				t.Errorf("error %v, want refused %v", err, test.refused)
			}
		})
	}
}

func replaceFile(path, text string) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o700); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}
