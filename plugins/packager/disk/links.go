package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// Entry is what lies under a package's name among the files.
type Entry struct {
	Name string
	// Digest is that of the version that a link of Dormouse's leads to, empty for anything else.
	Digest string
	// Dir is the directory that an operator put there, empty for a link.
	Dir string
}

// Entries returns what lies among the files: links and directories. Names that begin with a
// dot are left out.
func (d *Dirs) Entries() (all []Entry, err error) {
	entries, err := os.ReadDir(d.FilesDir())
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if entry, found := d.Entry(e.Name()); found {
			all = append(all, entry)
		}
	}
	return all, err
}

// Entry returns what lies under that name among the files.
func (d *Dirs) Entry(name string) (e Entry, found bool) {
	path := d.linkPath(name)
	info, err := os.Lstat(path)
	if err != nil {
		return Entry{}, false
	}
	e.Name = name
	if info.IsDir() {
		e.Dir = path
		return e, true
	}
	to, err := os.Readlink(path)
	if err != nil {
		return Entry{}, false
	}
	prefix := filepath.Join("..", versionsName, name) + "/"
	if digest, own := strings.CutPrefix(to, prefix); own && !strings.Contains(digest, "/") {
		e.Digest = "sha256:" + digest
		return e, true
	}
	e.Dir = path // the operator's own link
	return e, true
}

func (d *Dirs) linkPath(name string) string { return filepath.Join(d.FilesDir(), filepath.Base(name)) }

// Link makes the name lead to the version with that digest, durably and in one step. What an
// operator put there goes to the trash.
func (d *Dirs) Link(name, digest string) error {
	if e, found := d.Entry(name); found && e.Digest == digest {
		return nil
	}
	draft := filepath.Join(d.FilesDir(), draftPrefix+filepath.Base(name))
	if err := ownedtree.Remove(draft); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("..", versionsName, filepath.Base(name), hexOf(digest)), draft); err != nil {
		return fmt.Errorf("cannot link %s to its version: %w", name, err)
	}
	err := os.Rename(draft, d.linkPath(name))
	if errors.Is(err, unix.EISDIR) || errors.Is(err, fs.ErrExist) {
		err = d.exchangeWithDirectory(draft, name)
	}
	if err != nil {
		return fmt.Errorf("cannot link %s to its version: %w", name, err)
	}
	return atomicfile.SyncDir(d.FilesDir())
}

// exchangeWithDirectory gives the draft the name of a directory, which goes to the trash.
func (d *Dirs) exchangeWithDirectory(draft, name string) error {
	err := unix.Renameat2(unix.AT_FDCWD, draft, unix.AT_FDCWD, d.linkPath(name), unix.RENAME_EXCHANGE)
	if err != nil {
		return err
	}
	return d.Trash(draft, name)
}

// Unlink takes the name off the files. A directory of an operator goes to the trash.
func (d *Dirs) Unlink(name string) error {
	e, found := d.Entry(name)
	switch {
	case !found:
		return nil
	case e.Dir != "":
		return d.Trash(e.Dir, name)
	}
	if err := os.Remove(d.linkPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return atomicfile.SyncDir(d.FilesDir())
}
