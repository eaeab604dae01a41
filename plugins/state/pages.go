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

// Page says which keys or blobs are listed.
type Page struct {
	Prefix string
	After  string // begin after this one
	Limit  int    // 0 for the default
}

// check returns an ErrInvalid or ErrTooLarge unless there can be such a page, and sets the
// default.
func (p *Page) check() error {
	switch {
	case len(p.Prefix) > MaxName || len(p.After) > MaxName:
		return fmt.Errorf("%w: prefix and after have at most %d bytes", ErrTooLarge, MaxName)
	case p.Limit < 0 || p.Limit > maxPage:
		return fmt.Errorf("%w: limit must be between 1 and %d", ErrInvalid, maxPage)
	case p.Limit == 0:
		p.Limit = defaultPage
	}
	return nil
}

// end returns a text that stands after all that begin with the prefix, and before all others
// that stand after these: no UTF-8 has the byte 0xff.
func (p Page) end() string { return p.Prefix + "\xff" }

// Listed is one page of keys or blobs.
type Listed[T any] struct {
	All      []T
	Next     string // the After of the next page; empty on the last
	Revision int64  // of the owner
}

// List returns a page of the owner's keys in the order of their bytes.
func (s *State) List(ctx context.Context, owner string, p Page, withValues bool) (l Listed[Entry], err error) {
	if err := p.check(); err != nil {
		return l, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		l = Listed[Entry]{}
		row, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		l.Revision = row.revision
		rows, err := tx.Query(`SELECT key, value, revision, changed, checksum FROM state_keys
			WHERE owner = ? AND key >= ? AND key > ? AND key < ? ORDER BY key LIMIT ?`,
			owner, p.Prefix, p.After, p.end(), p.Limit+1)
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
			if n := len(l.All); n > 0 && (n == p.Limit || bytes > maxPageBytes) {
				l.Next = l.All[n-1].Key
				return nil
			}
			l.All = append(l.All, e)
		}
		return rows.Err()
	})
	return l, err
}

// ListBlobs returns a page of the owner's blobs in the order of the bytes of their names.
func (s *State) ListBlobs(ctx context.Context, owner string, p Page) (l Listed[Blob], err error) {
	if err := p.check(); err != nil {
		return l, err
	}
	err = s.store.View(ctx, func(tx *store.Tx) error {
		l = Listed[Blob]{}
		row, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		l.Revision = row.revision
		rows, err := tx.Query(blobColumns+` WHERE owner = ? AND name >= ? AND name > ? AND name < ? ORDER BY name LIMIT ?`,
			owner, p.Prefix, p.After, p.end(), p.Limit+1)
		if err != nil {
			return err
		}
		for rows.Next() {
			var b Blob
			if err := b.scan(owner, rows); err != nil {
				return err
			}
			if n := len(l.All); n == p.Limit {
				l.Next = l.All[n-1].Name
				return nil
			}
			l.All = append(l.All, b)
		}
		return rows.Err()
	})
	return l, err
}
