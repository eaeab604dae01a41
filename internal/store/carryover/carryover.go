// Package carryover reads the records of a store that a version before SQLite has written:
// one file of bbolt, with a checksum before each record. It changes nothing in the file.
package carryover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"dormouse/internal/regularfile"
)

// Errors of ReadAll.
var (
	// ErrDamaged means that the file is not as it was written.
	ErrDamaged = errors.New("the file is damaged")
	// ErrInUse means that another process has the file open.
	ErrInUse = errors.New("another process uses it")
)

// lockTimeout is how long ReadAll waits for another process to close the file.
const lockTimeout = 2 * time.Second

// Where bbolt's first page has its magic number, and what it is.
const (
	magicOffset = 16
	magic       = 0xED0CDAED
)

// IsBegin reports whether a file that begins so is one of bbolt. It wants the first 20 bytes.
func IsBegin(begin []byte) bool {
	return len(begin) >= magicOffset+4 && binary.NativeEndian.Uint32(begin[magicOffset:]) == magic
}

// ReadAll calls each with every record of the file, in order. The error wraps ErrDamaged for
// the first record that is damaged, ErrInUse if another process has the file open.
func ReadAll(path string, each func(bucket, key string, value []byte) error) error {
	db, err := open(path)
	if err != nil {
		return err
	}
	err = panicAsErrDamaged(func() error { return readAll(db, each) })
	return errors.Join(err, db.Close())
}

// open opens the file for reading.
func open(path string) (db *bbolt.DB, err error) {
	var file *os.File
	err = panicAsErrDamaged(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			ReadOnly: true,
			Timeout:  lockTimeout,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = regularfile.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err == nil {
		return db, nil
	}
	if file != nil {
		_ = file.Close() // bbolt does not close it when it panics
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, ErrInUse
	}
	if _, system := errors.AsType[syscall.Errno](err); system || errors.Is(err, ErrDamaged) {
		return nil, err
	}
	return nil, fmt.Errorf("%w: %w", ErrDamaged, err) // all other errors of bbolt are about the contents
}

// readAll calls each with every record. The error wraps ErrDamaged if the file is shorter than
// it was written, or a record is damaged.
func readAll(db *bbolt.DB, each func(bucket, key string, value []byte) error) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes instead of %d", ErrDamaged, info.Size(), tx.Size())
		}
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(key, stored []byte) error {
				raw, err := verifyAndCutChecksum(stored)
				if err != nil {
					return fmt.Errorf("%s %q: %w", name, key, err)
				}
				return each(string(name), string(key), raw)
			})
		})
	})
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// verifyAndCutChecksum returns the record without its checksum, or an ErrDamaged if they do
// not match.
func verifyAndCutChecksum(stored []byte) (raw []byte, err error) {
	if len(stored) < 4 || binary.BigEndian.Uint32(stored) != crc32.Checksum(stored[4:], castagnoli) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrDamaged)
	}
	return stored[4:], nil
}

// panicAsErrDamaged calls work and returns a panic of work as an ErrDamaged: bbolt panics, or
// faults, on pages that are damaged or missing.
func panicAsErrDamaged(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, cause)
		}
	}()
	return work()
}
