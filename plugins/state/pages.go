package state

import (
	"context"
	"fmt"

	"dormouse/internal/store"
)

// Limits of a page.
const (
	defaultPage  = 100
	maxPage      = 1000
	maxPageBytes = 1 << 20 // of values; the first entry comes in any case
)

// page says which keys or blobs are listed.
type page struct {
	prefix string
	after  string // begin after this one
	limit  int    // 0 for the default
}

// check returns an ErrInvalid or ErrTooLarge unless there can be such a page, and sets the
// default.
func (p *page) check() error {
	switch {
	case len(p.prefix) > MaxName || len(p.after) > MaxName:
		return fmt.Errorf("%w: prefix and after have at most %d bytes", ErrTooLarge, MaxName)
	case p.limit < 0 || p.limit > maxPage:
		return fmt.Errorf("%w: limit must be between 1 and %d", ErrInvalid, maxPage)
	case p.limit == 0:
		p.limit = defaultPage
	}
	return nil
}

// end returns a text that stands after all that begin with the prefix, and before all others
// that stand after these: no UTF-8 has the byte 0xff.
func (p page) end() string { return p.prefix + "\xff" }

// listed is one page of keys or blobs.
type listed[T any] struct {
	all      []T
	next     string // the after of the next page; empty on the last
	revision int64  // of the owner
}

// List returns a page of the owner's keys in the order of their bytes.
func (s *State) List(ctx context.Context, owner string, p page, withValues bool) (l listed[Entry], err error) {
	if err := p.check(); err != nil {
		return l, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		l = listed[Entry]{}
		row, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		l.revision = row.revision
		rows, err := tx.Query(`SELECT key, value, revision, changed, checksum FROM state_keys
			WHERE owner = ? AND key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?`,
			owner, p.prefix, p.after, p.end(), p.limit+1)
		if err != nil {
			return err
		}
		bytes := 0
		for rows.Next() {
			var e Entry
			if err := e.scan(owner, rows); err != nil {
				return err
			}
			if !withValues {
				e.Value = nil
			}
			bytes += len(e.Value)
			if n := len(l.all); n > 0 && (n == p.limit || bytes > maxPageBytes) {
				l.next = l.all[n-1].Key
				return nil
			}
			l.all = append(l.all, e)
		}
		return rows.Err()
	})
	return l, err
}

// ListBlobs returns a page of the owner's blobs in the order of the bytes of their names.
func (s *State) ListBlobs(ctx context.Context, owner string, p page) (l listed[Blob], err error) {
	if err := p.check(); err != nil {
		return l, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		l = listed[Blob]{}
		row, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		l.revision = row.revision
		rows, err := tx.Query(blobColumns+` WHERE owner = ? AND name >= ? AND name > ? AND name < ? ORDER BY name LIMIT ?`,
			owner, p.prefix, p.after, p.end(), p.limit+1)
		if err != nil {
			return err
		}
		for rows.Next() {
			var b Blob
			if err := b.scan(owner, rows); err != nil {
				return err
			}
			if n := len(l.all); n == p.limit {
				l.next = l.all[n-1].Name
				return nil
			}
			l.all = append(l.all, b)
		}
		return rows.Err()
	})
	return l, err
}
