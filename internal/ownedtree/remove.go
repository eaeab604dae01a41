// Package ownedtree makes directories that are marked as Dormouse's, and removes directory
// trees. A removal follows no link and crosses no mount, so that nothing goes that is only
// reached through the tree. The package does not know what the trees are for.
package ownedtree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrMounted means that a tree was not removed whole, since something is mounted in it.
var ErrMounted = errors.New("a file system is mounted there")

// Remove deletes the file or directory at path with all that is in it. What is mounted at or
// below path is unmounted first; where that fails the mount stays, and the error wraps
// ErrMounted. A missing path is no error.
func Remove(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	err = RemoveAt(dir, filepath.Base(path)) // most trees hold no mount
	if errors.Is(err, ErrMounted) {
		err = errors.Join(unmountBelow(path), RemoveAt(dir, filepath.Base(path)))
	}
	return err
}

// RemoveAt is Remove for an entry of the open directory. It unmounts nothing.
func RemoveAt(dir *os.File, name string) error {
	return removeEntry(int(dir.Fd()), name, filepath.Join(dir.Name(), name))
}

// removeEntry removes an entry of the directory that parentFD is open on. path is its name in
// errors.
func removeEntry(parentFD int, name, path string) error {
	err := unix.Unlinkat(parentFD, name, 0)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return mountedError(path)
	case !errors.Is(err, unix.EISDIR):
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	fd, err := unix.Openat2(parentFD, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EXDEV):
		return mountedError(path)
	case err != nil:
		return &os.PathError{Op: "remove", Path: path, Err: err}
	}
	dir := os.NewFile(uintptr(fd), path)
	err = errors.Join(removeEntriesOf(dir), dir.Close())
	if err == nil {
		err = removeEmptyDir(parentFD, name, path)
	}
	return err
}

// removeEntriesOf removes all entries of the open directory, as far as that goes.
func removeEntriesOf(dir *os.File) error {
	const batch = 1024
	var errs []error
	for {
		names, err := dir.Readdirnames(batch)
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrNotExist) { // another removal was quicker
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, name := range names {
			if err := RemoveAt(dir, name); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) > 0 {
			continue // what stays would be listed for ever
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil { // a removal may have moved the entries
			return err
		}
	}
}

// removeEmptyDir removes a directory that has no entries.
func removeEmptyDir(parentFD int, name, path string) error {
	err := unix.Unlinkat(parentFD, name, unix.AT_REMOVEDIR)
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return mountedError(path)
	}
	return &os.PathError{Op: "remove", Path: path, Err: err}
}

// mountedError returns an ErrMounted about path.
func mountedError(path string) error {
	return fmt.Errorf("cannot remove %s: %w; unmount it", path, ErrMounted)
}
