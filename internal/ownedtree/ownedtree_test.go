package ownedtree

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// A removal deletes the tree, of any width, and only links to what is outside.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	outside, tree := filepath.Join(dir, "outside"), filepath.Join(dir, "tree[*]")
	must(t, os.MkdirAll(filepath.Join(outside, "kept"), 0o700))
	must(t, os.MkdirAll(filepath.Join(tree, "a", "b"), 0o700))
	must(t, os.Symlink(outside, filepath.Join(tree, "a", "link")))
	for i := range 1200 {
		must(t, os.WriteFile(filepath.Join(tree, "a", "b", strings.Repeat("x", i%50)+string(rune('A'+i/50))), nil, 0o600))
	}
	must(t, os.Symlink(outside, filepath.Join(dir, "toplink")))
	must(t, errors.Join(Remove(tree), Remove(filepath.Join(dir, "toplink")), Remove(tree), Remove(filepath.Join(dir, "missing", "x"))))
	if exists(tree) || exists(filepath.Join(dir, "toplink")) || !exists(filepath.Join(outside, "kept")) {
		t.Error("the tree is left, or what it links to is gone")
	}
}

// Another removal of the same tree, which was quicker, is no error.
func TestRemoveBesideAnother(t *testing.T) {
	tree := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(tree, 0o700))
	dir, err := os.Open(tree)
	must(t, err)
	defer dir.Close()
	must(t, os.Remove(tree))
	must(t, removeEntriesOf(dir))
}

// mountForTest mounts a tmpfs with a file at path until the test ends, or Remove unmounts it.
func mountForTest(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	must(t, os.MkdirAll(path, 0o700))
	must(t, unix.Mount("tmpfs", path, "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	must(t, os.WriteFile(filepath.Join(path, "file"), nil, 0o600))
}

// What is mounted below a tree, in it twice or bound from elsewhere, is unmounted and not
// deleted.
func TestRemoveUnmounts(t *testing.T) {
	dir := t.TempDir()
	tree, elsewhere := filepath.Join(dir, "tree"), filepath.Join(dir, "else where")
	mountForTest(t, filepath.Join(tree, "deep", "tmpfs"))
	must(t, os.MkdirAll(filepath.Join(elsewhere, "kept"), 0o700))
	for _, name := range []string{"bound dir", "bound dir", filepath.Join("deep", "tmpfs", "bound")} {
		at := filepath.Join(tree, name)
		must(t, os.MkdirAll(at, 0o700))
		must(t, unix.Mount(elsewhere, at, "", unix.MS_BIND, ""))
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	file := filepath.Join(tree, "bound file")
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.WriteFile(filepath.Join(elsewhere, "file"), nil, 0o600))
	must(t, unix.Mount(filepath.Join(elsewhere, "file"), file, "", unix.MS_BIND, ""))
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })

	must(t, Remove(tree))
	if exists(tree) || !exists(filepath.Join(elsewhere, "kept")) || !exists(filepath.Join(elsewhere, "file")) {
		t.Error("the tree is left, or what was mounted in it is gone")
	}
	if points, err := mountPointsBelow(tree); err != nil || len(points) > 0 {
		t.Errorf("still mounted: %q, %v", points, err)
	}
}

// Without the right to unmount, the mount stays and is told; the rest goes.
func TestRemoveAtKeepsMounts(t *testing.T) {
	dir := t.TempDir()
	mounted := filepath.Join(dir, "tree", "mounted")
	mountForTest(t, mounted)
	must(t, os.WriteFile(filepath.Join(dir, "tree", "z"), nil, 0o600))
	parent, err := os.Open(dir)
	must(t, err)
	defer parent.Close()
	err = RemoveAt(parent, "tree")
	if !errors.Is(err, ErrMounted) || !strings.Contains(err.Error(), mounted) {
		t.Errorf("it returned %v", err)
	}
	if !exists(filepath.Join(mounted, "file")) || exists(filepath.Join(dir, "tree", "z")) {
		t.Error("the mount's file is gone, or the rest of the tree is left")
	}
}

// Only what is marked, or empty, is taken or removed.
func TestMarks(t *testing.T) {
	dir := t.TempDir()
	own, empty, foreign := filepath.Join(dir, "own"), filepath.Join(dir, "empty"), filepath.Join(dir, "foreign")
	must(t, Make(own))
	must(t, os.WriteFile(filepath.Join(own, "file"), nil, 0o600))
	must(t, Make(own))
	must(t, os.MkdirAll(filepath.Join(empty, lostAndFound), 0o755)) // as the top of a file system
	must(t, os.Mkdir(foreign, 0o755))
	for _, name := range []string{"a", "b", "c", "d"} {
		must(t, os.WriteFile(filepath.Join(foreign, name), nil, 0o600))
	}
	for name, do := range map[string]func(string) error{"Make": Make, "RemoveMarked": RemoveMarked} {
		err := do(foreign)
		if e, is := errors.AsType[*ForeignError](err); !is || !slices.Equal(e.Names, []string{"a", "b", "c", "d"}) || !strings.Contains(err.Error(), "a, b, c and 1 more") {
			t.Errorf("%s of a foreign directory returned %v", name, err)
		}
	}
	must(t, errors.Join(RemoveIfUnused(foreign), RemoveIfUnused(own)))
	if !exists(filepath.Join(foreign, "d")) || !exists(filepath.Join(own, "file")) || exists(filepath.Join(foreign, MarkName)) {
		t.Error("a directory in use was changed")
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(own, link))
	if IsMarked(link) || !IsMarked(own) {
		t.Error("a link counts as marked, or the directory does not")
	}
	must(t, errors.Join(RemoveMarked(own), RemoveMarked(empty), RemoveMarked(own), Make(empty), RemoveIfUnused(empty)))
	if exists(own) || exists(empty) {
		t.Error("what may go is left")
	}
}
