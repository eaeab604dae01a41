package hibernate

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dormouse/hibernate/pack"
)

func TestCheckMapped(t *testing.T) {
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
		"an equal copy":    {change: func(path string) error { return replace(path, "code") }},
		"one byte changed": {change: func(path string) error { return os.WriteFile(path, []byte("c0de"), 0o700) }, refused: true},
		"another build":    {change: func(path string) error { return replace(path, "other code") }, refused: true},
		"gone":             {change: os.Remove, refused: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, []byte("code"), 0o700); err != nil {
				t.Fatal(err)
			}
			m, err := describe(path)
			if err == nil {
				err = m.tag(tagger, 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := test.change(path); err != nil {
				t.Fatal(err)
			}
			err = checkMapped([]mappedFile{m}, tagger)
			if errors.Is(err, ErrRefused) != test.refused {
				t.Errorf("error %v, want refused %v", err, test.refused)
			}
		})
	}
}

func replace(path, text string) error {
	fresh := path + ".new"
	if err := os.WriteFile(fresh, []byte(text), 0o700); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// The tag covers every byte, at its place, and depends on the image.
func TestTag(t *testing.T) {
	data := make([]byte, 2*pack.ChunkSize+10)
	of := func(id string, number uint32, data []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		tagger, err := pack.NewTagger(make([]byte, 32), id)
		if err != nil {
			t.Fatal(err)
		}
		sum, err := tagger.TagFile(f, number, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		return string(sum)
	}
	plain := of("a", 0, data)
	if of("a", 0, data) != plain {
		t.Error("two tags of the same differ")
	}
	seen := map[string]string{plain: "plain"}
	for what, other := range map[string]string{
		"another image": of("b", 0, data), "another place among the files": of("a", 1, data), "shorter": of("a", 0, data[:len(data)-1]), "empty": of("a", 0, nil),
	} {
		if like, ok := seen[other]; ok {
			t.Errorf("%s has the tag of %s", what, like)
		}
		seen[other] = what
	}
	for _, at := range []int{0, pack.ChunkSize - 1, pack.ChunkSize, 2*pack.ChunkSize + 9} {
		data[at] ^= 1
		if of("a", 0, data) == plain {
			t.Errorf("byte %d does not matter", at)
		}
		data[at] ^= 1
	}
}
