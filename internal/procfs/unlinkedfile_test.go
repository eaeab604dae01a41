package procfs

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnlinkedFiles(t *testing.T) {
	dir := t.TempDir()
	want := make(map[string]uint64)
	lose := func(name string, otherName, mapIt bool) {
		t.Helper()
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err == nil {
			err = f.Truncate(1)
		}
		if otherName {
			if lerr := os.Link(path, path+".other"); lerr != nil {
				t.Fatal(lerr)
			}
			want[path] = info.Sys().(*syscall.Stat_t).Ino //nolint:errcheck,forcetypeassert // it is Linux
		}
		if err == nil {
			err = os.Remove(path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !mapIt {
			t.Cleanup(func() { _ = f.Close() })
			return
		}
		data, err := syscall.Mmap(int(f.Fd()), 0, 1, syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(data) })
		_ = f.Close()
	}
	lose("open", true, false)
	lose("mapped", true, true)
	lose("open without a name", false, false)
	lose("mapped without a name", false, true)
	got := make(map[string]uint64)
	for _, f := range UnlinkedFiles([]int{os.Getpid()}) {
		if strings.HasPrefix(f.Path, dir) {
			got[f.Path] = f.Inode
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
