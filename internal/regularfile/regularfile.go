// Package regularfile opens and reads regular files, and refuses all other kinds of file
// without waiting: to open a named pipe waits for its other end, to read a device may
// never end. It does not know what the files are for.
package regularfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"dormouse/internal/bytesize"
)

// Errors of Open and Read.
var (
	// ErrNotRegular means that the path names a directory, a named pipe, a socket or a device.
	ErrNotRegular = errors.New("it is not a regular file")
	// ErrTooLarge means that the file has more bytes than the caller reads.
	ErrTooLarge = errors.New("it is too large")
)

// Open opens the file at path for reading. The error wraps ErrNotRegular if another kind of
// file is there.
func Open(path string) (*os.File, error) { return OpenFile(path, os.O_RDONLY, 0) }

// OpenFile is os.OpenFile for regular files: the error wraps ErrNotRegular if another kind of
// file is at path. It waits for no other process.
func OpenFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	// The kind is looked at before the file is opened, since to open a device may have an
	// effect, and after, since another file may have taken the place.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, notRegularError(path)
	}
	f, err := os.OpenFile(path, flag|unix.O_NONBLOCK|unix.O_NOCTTY, mode)
	if errors.Is(err, unix.ENXIO) { // a named pipe without a reader, or a socket
		return nil, notRegularError(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = notRegularError(path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, unix.SetNonblock(int(f.Fd()), false) // a program may inherit the file
}

// Read returns the contents of the file at path, which may have up to limit bytes. The error
// wraps ErrNotRegular if another kind of file is there, ErrTooLarge if the file is larger.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: more than %s", ErrTooLarge, bytesize.Format(limit))}
	}
	if err != nil {
		return nil, err
	}
	return text, nil
}

// notRegularError returns the error of a path that names another kind of file.
func notRegularError(path string) error {
	return &fs.PathError{Op: "open", Path: path, Err: ErrNotRegular}
}
