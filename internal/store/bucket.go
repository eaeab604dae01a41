package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// Bucket holds the records of one kind, each a T, by their keys.
type Bucket[T any] struct {
	store *Store
	name  string
}

// BucketOf returns the bucket of that name in s, which need not exist yet. A bucket of a nil
// store is always empty: Put and Delete do nothing and return nil.
func BucketOf[T any](s *Store, name string) Bucket[T] { return Bucket[T]{s, name} }

// Get returns the record of that key, and in found whether there is one. The error means that
// the record is damaged or is not a T, or that the store is closed.
func (b Bucket[T]) Get(key string) (value T, found bool, err error) {
	if b.store == nil {
		return value, false, nil
	}
	err = b.store.View(context.Background(), func(tx *Tx) (err error) {
		value, found, err = b.GetIn(tx, key)
		return err
	})
	return value, found, err
}

// GetIn is Get as part of a transaction.
func (b Bucket[T]) GetIn(tx *Tx, key string) (value T, found bool, err error) {
	r := record{bucket: b.name, key: key}
	err = tx.QueryRow("SELECT value, checksum FROM records WHERE bucket = ? AND key = ?", b.name, key).Scan(&r.value, &r.checksum)
	if errors.Is(err, sql.ErrNoRows) {
		return value, false, nil
	}
	if err != nil {
		return value, false, fmt.Errorf("cannot read %s %q: %w", b.name, key, explained(err))
	}
	return value, true, r.verifyAndDecode(&value)
}

// All returns all records by their keys.
func (b Bucket[T]) All() (map[string]T, error) {
	all := make(map[string]T)
	if b.store == nil {
		return all, nil
	}
	err := b.store.View(context.Background(), func(tx *Tx) error {
		rows, err := tx.Query("SELECT key, value, checksum FROM records WHERE bucket = ?", b.name)
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", b.name, err)
		}
		for rows.Next() {
			r, value := record{bucket: b.name}, *new(T)
			if err := rows.Scan(&r.key, &r.value, &r.checksum); err != nil {
				return fmt.Errorf("cannot read %s: %w", b.name, err)
			}
			if err := r.verifyAndDecode(&value); err != nil {
				return err
			}
			all[r.key] = value
		}
		return rows.Err()
	})
	return all, err
}

// Put stores the record of that key. The record is on disk when Put returns nil.
func (b Bucket[T]) Put(key string, value T) error {
	if b.store == nil {
		return nil
	}
	raw, err := json.Marshal(value)
	if err == nil {
		err = b.store.Update(context.Background(), record{bucket: b.name, key: key, value: string(raw)}.put)
	}
	if err != nil {
		return fmt.Errorf("cannot store %s %q: %w", b.name, key, err)
	}
	return nil
}

// PutIn is Put as part of a transaction.
func (b Bucket[T]) PutIn(tx *Tx, key string, value T) error {
	raw, err := json.Marshal(value)
	if err == nil {
		err = record{bucket: b.name, key: key, value: string(raw)}.put(tx)
	}
	if err != nil {
		return fmt.Errorf("cannot store %s %q: %w", b.name, key, err)
	}
	return nil
}

// Delete removes the record of that key. It returns nil if the bucket has no such
// record.
func (b Bucket[T]) Delete(key string) error {
	if b.store == nil {
		return nil
	}
	return b.deleteError(key, b.store.Update(context.Background(), func(tx *Tx) error { return b.remove(tx, key) }))
}

// DeleteIn is Delete as part of a transaction.
func (b Bucket[T]) DeleteIn(tx *Tx, key string) error { return b.deleteError(key, b.remove(tx, key)) }

// remove removes the row of the record.
func (b Bucket[T]) remove(tx *Tx, key string) error {
	_, err := tx.Exec("DELETE FROM records WHERE bucket = ? AND key = ?", b.name, key)
	return err
}

// deleteError returns err with what was tried, nil for nil.
func (b Bucket[T]) deleteError(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot delete %s %q: %w", b.name, key, err)
}

// record is one row of the table of records.
type record struct {
	bucket, key, value string
	checksum           int64
}

// put writes the record with its checksum.
func (r record) put(tx *Tx) error {
	_, err := tx.Exec(`INSERT INTO records VALUES (?, ?, ?, ?)
		ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum`,
		r.bucket, r.key, r.value, r.sum())
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum returns what the checksum of the record must be. SQLite has none of contents.
func (r record) sum() int64 {
	sum := crc32.Checksum([]byte(r.bucket+"\x00"+r.key+"\x00"), castagnoli)
	return int64(crc32.Update(sum, castagnoli, []byte(r.value)))
}

// verify returns an ErrDamaged that names the record if it is not as it was written.
func (r record) verify() error {
	if r.checksum != r.sum() {
		return fmt.Errorf("cannot read %s %q: %w: the checksum does not match", r.bucket, r.key, ErrDamaged)
	}
	return nil
}

// verifyAndDecode verifies the record and decodes it into to.
func (r record) verifyAndDecode(to any) error {
	if err := r.verify(); err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(r.value), to); err != nil {
		return fmt.Errorf("cannot read %s %q: %w", r.bucket, r.key, err)
	}
	return nil
}

// forEachRecord calls each with every record and its rowid.
func forEachRecord(tx *Tx, each func(id int64, r record) error) error {
	rows, err := tx.Query("SELECT rowid, bucket, key, value, checksum FROM records")
	if err != nil {
		return err
	}
	for rows.Next() {
		var id int64
		var r record
		if err := rows.Scan(&id, &r.bucket, &r.key, &r.value, &r.checksum); err != nil {
			return err
		}
		if err := each(id, r); err != nil {
			return err
		}
	}
	return rows.Err()
}

// setDamagedApart reads every record, and moves those that are damaged to a table of their own.
// It returns their names.
func setDamagedApart(tx *Tx) (names []string, err error) {
	var ids []int64
	err = forEachRecord(tx, func(id int64, r record) error {
		if r.verify() != nil {
			ids, names = append(ids, id), append(names, fmt.Sprintf("%s %q", r.bucket, r.key))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		_, err := tx.Exec("INSERT INTO damaged_records SELECT bucket, key, value, checksum, datetime() FROM records WHERE rowid = ?", id)
		if err == nil {
			_, err = tx.Exec("DELETE FROM records WHERE rowid = ?", id)
		}
		if err != nil {
			return nil, err
		}
	}
	return names, nil
}
