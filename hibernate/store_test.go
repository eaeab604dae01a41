package hibernate

import (
	"os"
	"path/filepath"
	"testing"
)

// Names of directories that would be patterns elsewhere are names: a store there lists its
// images and deletes what an earlier host left.
func TestStoreInDirectoryNamedAsPattern(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `[b]ox*?`)
	for _, name := range []string{"A/image", "B/golden", "C/refused", "A/draft-1", "C/trash-1", "D/generation"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stored, err := s.ListInEvictionOrder()
	if err != nil || len(stored) != 3 || stored[0].Callsign != "B" {
		t.Errorf("listed %v, %v", stored, err)
	}
	for _, name := range []string{"A/draft-1", "C/trash-1"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "A/draft-2"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "A/draft-2/pages-1.img"), make([]byte, 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := s.ImageDir("A").DraftBytes(); got != 100 {
		t.Errorf("the draft has %d bytes", got)
	}
}
