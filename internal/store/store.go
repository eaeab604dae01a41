// Package store keeps small records in one file: JSON by bucket and key. What a
// write has acknowledged is on disk, and a write that was cut off has not
// happened. It does not know what the records mean.
package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// patience is how long Open waits for another process to let the file go.
const patience = 2 * time.Second

// ErrDamaged means that the file can't be read as it was written. Nothing is
// changed in it then.
var ErrDamaged = errors.New("the file is damaged")

// Store is one open file. It may be used from any goroutine; writes wait for
// each other.
type Store struct {
	db *bbolt.DB
}

// Open opens the file, or makes it with mode 0600, and reads all of it once, so
// that damage is found now and not in the middle of work. The error wraps
// ErrDamaged if that is what keeps it from being opened.
func Open(path string) (_ *Store, err error) {
	var file *os.File
	defer func() {
		if err != nil && file != nil {
			_ = file.Close() // bbolt does not, when it panics
		}
	}()
	var db *bbolt.DB
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      patience,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				file, err = os.OpenFile(name, flag, mode)
				return file, err
			},
		})
		return err
	})
	if err == nil {
		file = nil // it is db's now
		if err = guarded(func() error { return check(db) }); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err == nil {
		return &Store{db}, nil
	}
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another process uses it", path)
	}
	if _, system := errors.AsType[syscall.Errno](err); system {
		return nil, fmt.Errorf("cannot open the store: %w", err)
	}
	if !errors.Is(err, ErrDamaged) { // what else bbolt says is about what it found
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil, fmt.Errorf("cannot open %s: %w; restore it from a backup, or move it away to begin without what it held", path, err)
}

// Close returns once every write under way has ended.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	return s.db.Close()
}

// Bucket is the records of one kind, each a T.
type Bucket[T any] struct {
	store *Store
	name  []byte
}

// In returns a bucket of s, which need not exist yet. One of a nil store is
// empty and forgets what is put into it.
func In[T any](s *Store, name string) Bucket[T] { return Bucket[T]{s, []byte(name)} }

// Get returns the record of that key, or false when there is none.
func (b Bucket[T]) Get(key string) (value T, found bool, err error) {
	err = b.view(func(bucket *bbolt.Bucket) error {
		raw := bucket.Get([]byte(key))
		if raw == nil {
			return nil
		}
		found = true
		return b.decode([]byte(key), raw, &value)
	})
	return value, found, err
}

// All returns every record by its key.
func (b Bucket[T]) All() (map[string]T, error) {
	all := make(map[string]T)
	err := b.view(func(bucket *bbolt.Bucket) error {
		return bucket.ForEach(func(key, raw []byte) error {
			var value T
			err := b.decode(key, raw, &value)
			all[string(key)] = value
			return err
		})
	})
	return all, err
}

// Put replaces the record of that key. It is on disk when Put returns nil.
func (b Bucket[T]) Put(key string, value T) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot store %s %q: %w", b.name, key, err)
	}
	return b.update("store", key, func(bucket *bbolt.Bucket) error { return bucket.Put([]byte(key), seal(raw)) })
}

// Delete removes the record of that key, for good when it returns nil. One that
// there is not is no error.
func (b Bucket[T]) Delete(key string) error {
	return b.update("delete", key, func(bucket *bbolt.Bucket) error { return bucket.Delete([]byte(key)) })
}

func (b Bucket[T]) view(read func(*bbolt.Bucket) error) error {
	if b.store == nil {
		return nil
	}
	return b.store.db.View(func(tx *bbolt.Tx) error {
		if bucket := tx.Bucket(b.name); bucket != nil {
			return read(bucket)
		}
		return nil
	})
}

func (b Bucket[T]) update(verb, key string, write func(*bbolt.Bucket) error) error {
	if b.store == nil {
		return nil
	}
	err := b.store.db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists(b.name)
		if err != nil {
			return err
		}
		return write(bucket)
	})
	if err != nil {
		return fmt.Errorf("cannot %s %s %q: %w", verb, b.name, key, err)
	}
	return nil
}

func (b Bucket[T]) decode(key, sealed []byte, to *T) error {
	raw, err := unseal(sealed)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	if err != nil {
		return fmt.Errorf("cannot read %s %q: %w", b.name, key, err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a checksum before a record: bbolt has one of its own pages' heads
// only.
func seal(raw []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(raw, castagnoli)), raw...)
}

func unseal(sealed []byte) ([]byte, error) {
	if len(sealed) < 4 || binary.BigEndian.Uint32(sealed) != crc32.Checksum(sealed[4:], castagnoli) {
		return nil, fmt.Errorf("%w: the checksum does not match", ErrDamaged)
	}
	return sealed[4:], nil
}

// check reads every record.
func check(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes instead of %d", ErrDamaged, info.Size(), tx.Size())
		}
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			return bucket.ForEach(func(key, sealed []byte) error {
				if _, err := unseal(sealed); err != nil {
					return fmt.Errorf("%s %q: %w", name, key, err)
				}
				return nil
			})
		})
	})
}

// guarded turns what bbolt does about pages that can't be right, or are not
// there at all, into an error.
func guarded(work func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, cause)
		}
	}()
	return work()
}
