package procfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExecutedFiles(t *testing.T) {
	dir := t.TempDir()
	mapFile := func(name string, protection int) {
		t.Helper()
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(4096); err != nil {
			t.Fatal(err)
		}
		data, err := syscall.Mmap(int(f.Fd()), 0, 4096, protection, syscall.MAP_PRIVATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(data) })
	}
	mapFile("plain", syscall.PROT_EXEC)
	mapFile("two  spaces ", syscall.PROT_READ|syscall.PROT_EXEC)
	mapFile("removed", syscall.PROT_EXEC)
	mapFile("data", syscall.PROT_READ)
	if err := os.Remove(filepath.Join(dir, "removed")); err != nil {
		t.Fatal(err)
	}
	files, err := ExecutedFiles([]int{os.Getpid(), os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files, self) || !slices.IsSorted(files) {
		t.Errorf("got %q", files)
	}
	var ours []string
	for _, file := range files {
		if rest, ok := strings.CutPrefix(file, dir+"/"); ok {
			ours = append(ours, rest)
		}
	}
	if diff := cmp.Diff([]string{"plain", "two  spaces "}, ours); diff != "" {
		t.Error(diff)
	}
}

func TestMapped(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(int) ([]Mapping, error){"maps": Mappings, "smaps": MappingsWithFlags} {
		mappings, err := read(os.Getpid())
		code := slices.IndexFunc(mappings, func(m Mapping) bool { return m.Name == self && m.Access == "r-xp" })
		vdso := slices.IndexFunc(mappings, func(m Mapping) bool { return m.Name == "[vdso]" && m.IsMadeByKernel() })
		if err != nil || code < 0 || vdso < 0 || mappings[code].Start >= mappings[code].End || mappings[code].Inode == "0" {
			t.Fatalf("%s: got %+v, error %v", name, mappings, err)
		}
		if flags := mappings[code].Flags; slices.Contains(flags, "ex") != (name == "smaps") {
			t.Errorf("%s: code has the flags %q", name, flags)
		}
	}
}
