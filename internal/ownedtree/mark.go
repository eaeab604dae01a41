package ownedtree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
)

// MarkName is the file that marks a directory as Dormouse's.
const MarkName = ".dormouse"

const markText = "Dormouse made this directory and may remove it with all that is in it.\n"

// ForeignError means that a directory was not made by Dormouse, since it holds something and
// is not marked.
type ForeignError struct {
	Dir   string
	Names []string // of its entries
}

func (e *ForeignError) Error() string {
	const most = 3
	named := strings.Join(e.Names[:min(most, len(e.Names))], ", ")
	if more := len(e.Names) - most; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("%s holds what Dormouse did not put there (%s), so it is left alone", e.Dir, named)
}

// IsMarked reports whether dir is a directory, not a link to one, with a mark.
func IsMarked(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	_, err = os.Lstat(filepath.Join(dir, MarkName))
	return err == nil
}

// Mark marks an existing directory. It does nothing to one that is marked.
func Mark(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, MarkName), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = f.WriteString(markText); atomicfile.IsNoRoom(err) {
		err = nil // the name alone is the mark
	}
	return errors.Join(err, f.Close())
}

// Make makes dir, for its owner alone, and marks it. If dir exists it must be marked or
// empty; the error is a *ForeignError if it is neither, and dir is then left as it is.
func Make(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := checkOwn(dir); err != nil {
		return err
	}
	return Mark(dir)
}

// RemoveMarked is Remove for a directory that is marked or empty, or missing. For any other
// the error is a *ForeignError, and dir is left as it is.
func RemoveMarked(dir string) error {
	if err := checkOwn(dir); err != nil {
		return err
	}
	return Remove(dir)
}

// RemoveIfUnused removes a directory that holds nothing but its mark. It does nothing to any
// other.
func RemoveIfUnused(dir string) error {
	if foreign, err := ForeignEntries(dir); err != nil || len(foreign) > 0 {
		return err
	}
	return RemoveMarked(dir)
}

// checkOwn returns a *ForeignError unless dir is marked, empty or missing, and another error
// for a link or file in its place.
func checkOwn(dir string) error {
	if IsMarked(dir) {
		return nil
	}
	if info, err := os.Lstat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("%s is not a directory, so it is left alone", dir)
	}
	foreign, err := ForeignEntries(dir)
	if err == nil && len(foreign) > 0 {
		err = &ForeignError{dir, foreign}
	}
	return err
}

// lostAndFound is a directory that the file system itself has at its top.
const lostAndFound = "lost+found"

// ForeignEntries returns the names in dir, sorted, except for those given, the mark, and what
// is the file system's own. A missing directory has none.
func ForeignEntries(dir string, own ...string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		if name := entry.Name(); name != MarkName && name != lostAndFound && !slices.Contains(own, name) {
			names = append(names, name)
		}
	}
	return names, err
}
