package store

import (
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Errors of the store.
var (
	// ErrDamaged means that the file, or one record, is not as it was written.
	ErrDamaged = errors.New("the file is damaged")
	// ErrNewer means that a newer version of this program has written the file.
	ErrNewer = errors.New("a newer version has written it")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("the store is closed")
)

// explained adds to an error of SQLite what callers can ask for: ErrDamaged, or the error of
// the system that is behind it. Other errors, and nil, are returned as they are.
func explained(err error) error {
	cause, is := errors.AsType[*sqlite.Error](err)
	if !is || errors.Is(err, ErrDamaged) || isSystemError(err) {
		return err
	}
	switch cause.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("%w (%w)", syscall.ENOSPC, err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("%w (%w)", syscall.EIO, err)
	case sqlite3.SQLITE_READONLY:
		return fmt.Errorf("%w (%w)", syscall.EROFS, err)
	default:
		return err
	}
}

// isSystemError reports whether err has an error of the system in it.
func isSystemError(err error) bool {
	_, is := errors.AsType[syscall.Errno](err)
	return is
}
