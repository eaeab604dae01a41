package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// Entry is one key with its value.
type Entry struct {
	Key      string
	Value    json.RawMessage
	Revision int64 // 0 for a key that is not there
	Changed  time.Time
}

func (e Entry) bytes() int64 { return int64(len(e.Key) + len(e.Value)) }

// ChangeKind says what a Change does.
type ChangeKind int

// The kinds of changes.
const (
	SetKey ChangeKind = iota
	DeleteKey
	CheckKey // changes nothing, but fails if the key has another revision
)

// Change is a change of one key.
type Change struct {
	Key   string
	Kind  ChangeKind
	Value json.RawMessage // of SetKey
	// If is the revision that the key must have, 0 for none; nil: any.
	If *int64
}

// Get returns one key of the owner, or an ErrNotFound.
func (s *State) Get(ctx context.Context, owner, key string) (e Entry, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		e, err = readEntry(tx, owner, key)
		return err
	})
	if err == nil && e.Revision == 0 {
		err = fmt.Errorf("%w: there is no key %.64q", ErrNotFound, key)
	}
	return e, err
}

// Change makes all changes, each after the other, or none of them. They are on disk when it
// returns nil. It returns the owner's revision after them, and what each key was before its
// change.
func (s *State) Change(ctx context.Context, owner string, changes ...Change) (revision int64, old []Entry, err error) {
	if err := checkChanges(changes); err != nil {
		return 0, nil, err
	}
	now := s.clock().UnixMilli()
	err = s.change(ctx, owner, func(tx *store.Tx, row *ownerRow) error {
		old = make([]Entry, 0, len(changes))
		next := row.revision + 1
		for _, c := range changes {
			before, err := c.make(tx, row, next, now)
			if err != nil {
				return err
			}
			old = append(old, before)
		}
		revision = row.revision
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	failpoint.Hit("state.changed")
	return revision, old, nil
}

// checkChanges returns an ErrInvalid or ErrTooLarge unless the changes can be made.
func checkChanges(changes []Change) error {
	if len(changes) == 0 {
		return fmt.Errorf("%w: there is no change in it", ErrInvalid)
	}
	if len(changes) > MaxChanges {
		return fmt.Errorf("%w: %d changes, and %d may be made as one", ErrTooLarge, len(changes), MaxChanges)
	}
	for _, c := range changes {
		err := checkKey(c.Key)
		if err == nil && c.Kind == SetKey {
			err = checkValue(c.Key, c.Value)
		}
		if err == nil && c.Kind == CheckKey && c.If == nil {
			err = fmt.Errorf("%w: a check of the key %q must name a revision", ErrInvalid, c.Key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// make makes the change with that revision, and returns what the key was before.
func (c Change) make(tx *store.Tx, row *ownerRow, revision, now int64) (before Entry, err error) {
	before, err = readEntry(tx, row.owner, c.Key)
	if errors.Is(err, ErrDamaged) && c.If == nil { // it can be written anew
		err = nil
	}
	if err == nil {
		err = checkRevision(fmt.Sprintf("key %q", c.Key), c.If, before.Revision)
	}
	if err != nil || c.Kind == CheckKey || c.Kind == DeleteKey && before.Revision == 0 {
		return before, err
	}
	if before.Revision != 0 {
		row.keys--
		row.keyBytes -= before.bytes()
	}
	row.revision = revision
	if c.Kind == DeleteKey {
		_, err := tx.Exec(`DELETE FROM state_keys WHERE owner = ? AND key = ?`, row.owner, c.Key)
		return before, err
	}
	after := Entry{Key: c.Key, Value: c.Value, Revision: revision, Changed: time.UnixMilli(now)}
	row.keys++
	row.keyBytes += after.bytes()
	return before, after.write(tx, row.owner)
}

// readEntry returns a key, with revision 0 if there is none. With an ErrDamaged the entry has
// what is there.
func readEntry(tx *store.Tx, owner, key string) (e Entry, err error) {
	e.Key = key
	err = e.scan(owner, tx.QueryRow(`SELECT key, value, revision, changed, checksum FROM state_keys WHERE owner = ? AND key = ?`, owner, key))
	if errors.Is(err, sql.ErrNoRows) {
		return Entry{Key: key}, nil
	}
	return e, err
}

// scan reads a row of the owner's.
func (e *Entry) scan(owner string, from interface{ Scan(...any) error }) error {
	var value []byte
	var changed, sum int64
	if err := from.Scan(&e.Key, &value, &e.Revision, &changed, &sum); err != nil {
		return err
	}
	e.Value, e.Changed = value, time.UnixMilli(changed).UTC()
	if sum != e.checksum(owner) {
		return damagedError("key", e.Key)
	}
	return nil
}

// write writes the row.
func (e Entry) write(tx *store.Tx, owner string) error {
	_, err := tx.Exec(`INSERT INTO state_keys VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner, key) DO UPDATE SET
		value = excluded.value, revision = excluded.revision, changed = excluded.changed, checksum = excluded.checksum`,
		owner, e.Key, []byte(e.Value), e.Revision, e.Changed.UnixMilli(), e.checksum(owner))
	return err
}

func (e Entry) checksum(owner string) int64 {
	return checksum([]int64{e.Revision, e.Changed.UnixMilli()}, owner, e.Key, string(e.Value))
}
