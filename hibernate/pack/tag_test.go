package pack

import (
	"os"
	"path/filepath"
	"testing"
)

// The tag covers every byte, at its place, and depends on the image.
func TestTag(t *testing.T) {
	data := make([]byte, 2*ChunkSize+10)
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
		tagger, err := NewTagger(make([]byte, 32), id)
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
	for _, at := range []int{0, ChunkSize - 1, ChunkSize, 2*ChunkSize + 9} {
		data[at] ^= 1
		if of("a", 0, data) == plain {
			t.Errorf("byte %d does not matter", at)
		}
		data[at] ^= 1
	}
}
