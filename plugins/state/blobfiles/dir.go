// Package blobfiles has the files of blobs in one directory. A file never changes once it is
// whole, and has a name that no other file has had. The package does not know which files are
// blobs, nor whose they are.
package blobfiles

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// asideName is the directory for files that no blob has, and that are kept for the operator.
const asideName = "set-aside"

// Dir is a directory with one file for each blob.
type Dir struct{ path string }

// At returns the directory at path, which need not exist yet.
func At(path string) *Dir { return &Dir{path} }

// Path returns the path of the directory.
func (d *Dir) Path() string { return d.path }

// IsThere reports whether the directory exists, and is Dormouse's.
func (d *Dir) IsThere() bool { return ownedtree.IsMarked(d.path) }

// Make makes the directory. One that exists must be marked or empty.
func (d *Dir) Make() error {
	if d.IsThere() {
		return nil
	}
	return ownedtree.Make(d.path)
}

// Sizes returns the size of each file by its name.
func (d *Dir) Sizes() (map[string]int64, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64)
	for _, e := range entries {
		if !e.Type().IsRegular() || e.Name() == ownedtree.MarkName {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		sizes[e.Name()] = info.Size()
	}
	return sizes, nil
}

// Open opens a file for reading.
func (d *Dir) Open(name string) (*os.File, error) {
	return os.OpenFile(d.pathOf(name), os.O_RDONLY|unix.O_NOFOLLOW, 0)
}

// Remove removes files; one that is not there is no error. Whether they are gone after a power
// cut is not certain.
func (d *Dir) Remove(names ...string) error {
	var errs []error
	for _, name := range names {
		if err := os.Remove(d.pathOf(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// SetAside moves a file to where the operator finds it and the host does not look, and returns
// its path there.
func (d *Dir) SetAside(name string) (path string, err error) {
	dir := filepath.Join(d.path, asideName)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, filepath.Base(name))
	return path, os.Rename(d.pathOf(name), path)
}

// LinkTo gives a file one more name, in another directory. On another file system it is copied.
func (d *Dir) LinkTo(dir, name string) error {
	return linkOrCopy(d.pathOf(name), filepath.Join(dir, filepath.Base(name)))
}

// LinkFrom gives a file in another directory one more name, in this one, unless it has it. On
// another file system it is copied. Sync makes it durable.
func (d *Dir) LinkFrom(dir, name string) error {
	err := linkOrCopy(filepath.Join(dir, filepath.Base(name)), d.pathOf(name))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// Sync makes durable which files the directory has.
func (d *Dir) Sync() error { return atomicfile.SyncDir(d.path) }

func (d *Dir) pathOf(name string) string { return filepath.Join(d.path, filepath.Base(name)) }

// newName returns a name that no file has had.
func newName() string { return rand.Text() }

// linkOrCopy makes to a hard link of from, or where there can be none a copy that is on disk as
// a whole, or not there.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) {
		return err
	}
	in, err := os.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(fmt.Errorf("cannot copy %s: %w", from, err), os.Remove(to))
	}
	return nil
}
