// Package store keeps small records in one file: JSON by bucket and key. A record is on disk
// when Put returns; a Put that a crash interrupts has no effect. The package does not know
// what the records mean.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"dormouse/internal/atomicfile"
	"dormouse/internal/regularfile"
)

// lockTimeout is how long Open waits for another process to close the file.
const lockTimeout = 2 * time.Second

// ErrDamaged means that the file is not as it was written. Open does not change such a
// file.
var ErrDamaged = errors.New("the file is damaged")

// Store is one open file of records. Any goroutine may use it; writes wait for each
// other.
type Store struct {
	path string

	mu     sync.Mutex // guards the fields below
	db     *bbolt.DB  // nil while there is no room for the file
	closed bool
}

// OpenAndVerify opens the file, or makes it with mode 0600. It reads all records once and
// returns an ErrDamaged if one is damaged, so that no later read finds that. It returns
// another error if another process has the file open. If there is no room to make the file,
// the store has no records, and each write tries again.
func OpenAndVerify(path string) (*Store, error) {
	s := &Store{path: path}
	if _, err := s.openedOrOpen(); err != nil && !atomicfile.IsNoRoom(err) {
		return nil, err
	}
	return s, nil
}

// openFile opens the file, or makes it, and verifies its records. A file for which there is no
// room is removed again.
func openFile(path string) (_ *bbolt.DB, err error) {
	if info, serr := os.Stat(path); serr != nil || info.Size() == 0 {
		defer func() {
			if atomicfile.IsNoRoom(err) {
				_ = os.Remove(path) // the beginning of a file would be taken for a damaged one
			}
		}()
	}
	var file *os.File
	defer func() {
		if err != nil && file != nil {
			_ = file.Close() // bbolt does not close the file when it panics
		}
	}()
	var db *bbolt.DB
	err = panicAsErrDamaged(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      lockTimeout,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = regularfile.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err == nil {
		file = nil // db closes the file
		if err = panicAsErrDamaged(func() error { return verifyAllRecords(db) }); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err == nil {
		return db, nil
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another process uses it", path)
	}
	if _, system := errors.AsType[syscall.Errno](err); system {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	if !errors.Is(err, ErrDamaged) { // all other errors of bbolt are about the contents
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, fmt.Errorf("cannot open %s: %w; restore it from a backup, or move it away to start without its records", path, err)
}

// Close closes the file after every write under way. A nil store has nothing to close.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}

// errClosed is the error of a store that is closed before there was room for its file.
var errClosed = errors.New("the store is closed")

// openedOrOpen returns the open file. If there was no room for it when the store was opened,
// it tries again.
func (s *Store) openedOrOpen() (*bbolt.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return s.db, nil
	}
	if s.closed {
		return nil, errClosed
	}
	opened, err := openFile(s.path)
	if err != nil {
		return nil, err
	}
	s.db = opened
	return s.db, nil
}

// Bucket holds the records of one kind, each a T, by their keys.
type Bucket[T any] struct {
	store *Store
	name  []byte
}

// BucketOf returns the bucket of that name in s, which need not exist yet. A bucket of a nil
// store is always empty: Put and Delete do nothing and return nil.
func BucketOf[T any](s *Store, name string) Bucket[T] { return Bucket[T]{s, []byte(name)} }

// Get returns the record of that key, and in found whether there is one. The error means that
// the record is damaged or is not a T, or that the store is closed.
func (b Bucket[T]) Get(key string) (value T, found bool, err error) {
	err = b.readBucketIfExists(func(bucket *bbolt.Bucket) error {
		raw := bucket.Get([]byte(key))
		if raw == nil {
			return nil
		}
		found = true
		return b.verifyAndDecode([]byte(key), raw, &value)
	})
	return value, found, err
}

// All returns all records by their keys.
func (b Bucket[T]) All() (map[string]T, error) {
	all := make(map[string]T)
	err := b.readBucketIfExists(func(bucket *bbolt.Bucket) error {
		return bucket.ForEach(func(key, raw []byte) error {
			var value T
			err := b.verifyAndDecode(key, raw, &value)
			all[string(key)] = value
			return err
		})
	})
	return all, err
}

// Put stores the record of that key. The record is on disk when Put returns nil.
func (b Bucket[T]) Put(key string, value T) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot store %s %q: %w", b.name, key, err)
	}
	return b.makeAndUpdateBucket("store", key, func(bucket *bbolt.Bucket) error { return bucket.Put([]byte(key), addChecksum(raw)) })
}

// Delete removes the record of that key. It returns nil if the bucket has no such
// record.
func (b Bucket[T]) Delete(key string) error {
	return b.makeAndUpdateBucket("delete", key, func(bucket *bbolt.Bucket) error { return bucket.Delete([]byte(key)) })
}

// readBucketIfExists calls read with the bucket, unless the bucket does not exist yet.
func (b Bucket[T]) readBucketIfExists(read func(*bbolt.Bucket) error) error {
	if b.store == nil {
		return nil
	}
	db, err := b.store.openedOrOpen()
	if atomicfile.IsNoRoom(err) {
		return nil // there is no file, so there are no records
	}
	if err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		if bucket := tx.Bucket(b.name); bucket != nil {
			return read(bucket)
		}
		return nil
	})
}

// makeAndUpdateBucket makes the bucket if needed and calls write with it, in one
// transaction. It does nothing without a store. The error says "cannot VERB BUCKET KEY".
func (b Bucket[T]) makeAndUpdateBucket(verbForError, keyForError string, write func(*bbolt.Bucket) error) error {
	if b.store == nil {
		return nil
	}
	db, err := b.store.openedOrOpen()
	if err != nil {
		return fmt.Errorf("cannot %s %s %q: %w", verbForError, b.name, keyForError, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(b.name)
		if err != nil {
			return err
		}
		return write(bucket)
	})
	if err != nil {
		return fmt.Errorf("cannot %s %s %q: %w", verbForError, b.name, keyForError, err)
	}
	return nil
}

// verifyAndDecode decodes a stored record into to. The error names keyForError, and wraps
// ErrDamaged if the checksum of the record is wrong.
func (b Bucket[T]) verifyAndDecode(keyForError, stored []byte, to *T) error {
	raw, err := verifyAndCutChecksum(stored)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s %q: %w", b.name, keyForError, err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// addChecksum returns the record with a checksum before it. bbolt itself has checksums of its
// metadata only.
func addChecksum(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(raw, castagnoli)), raw...)
}

// verifyAndCutChecksum returns the record without its checksum, or an ErrDamaged if they do
// not match.
func verifyAndCutChecksum(stored []byte) (raw []byte, err error) {
	if len(stored) < 4 || binary.BigEndian.Uint32(stored) != crc32.Checksum(stored[4:], castagnoli) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrDamaged)
	}
	return stored[4:], nil
}

// verifyAllRecords reads every record and returns an ErrDamaged for the first damaged
// one, or if the file is shorter than it was written.
func verifyAllRecords(db *bbolt.DB) error {
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
				if _, err := verifyAndCutChecksum(stored); err != nil {
					return fmt.Errorf("%s %q: %w", name, key, err)
				}
				return nil
			})
		})
	})
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
