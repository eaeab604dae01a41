package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// ownerRow is the row of one owner: what its state is all together.
type ownerRow struct {
	owner     string
	revision  int64 // of the last change; it only grows
	keys      int64
	keyBytes  int64
	blobs     int64
	blobBytes int64
}

func (r ownerRow) bytes() int64 { return r.keyBytes + r.blobBytes }

// isEmpty reports whether the owner has neither keys nor blobs.
func (r ownerRow) isEmpty() bool { return r.keys == 0 && r.blobs == 0 }

const ownerColumns = `SELECT owner, revision, keys, key_bytes, blobs, blob_bytes FROM state_owners`

func (r *ownerRow) scan(from interface{ Scan(...any) error }) error {
	return from.Scan(&r.owner, &r.revision, &r.keys, &r.keyBytes, &r.blobs, &r.blobBytes)
}

// readOwner returns the row of the owner, without keys and blobs if there is none.
func readOwner(tx *store.Tx, owner string) (ownerRow, error) {
	r := ownerRow{owner: owner}
	err := r.scan(tx.QueryRow(ownerColumns+` WHERE owner = ?`, owner))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("cannot read the state of %s: %w", owner, err)
	}
	return r, nil
}

// write writes the row.
func (r ownerRow) write(tx *store.Tx) error {
	_, err := tx.Exec(`INSERT INTO state_owners VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (owner) DO UPDATE SET
		revision = excluded.revision, keys = excluded.keys, key_bytes = excluded.key_bytes,
		blobs = excluded.blobs, blob_bytes = excluded.blob_bytes`,
		r.owner, r.revision, r.keys, r.keyBytes, r.blobs, r.blobBytes)
	return err
}

// usage returns what the owner has all together.
func (s *State) usage(ctx context.Context, owner string) (r ownerRow, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		r, err = readOwner(tx, owner)
		return err
	})
	return r, err
}

// owners returns the rows of all owners that have something, by callsign.
func (s *State) owners(ctx context.Context) (all []ownerRow, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(ownerColumns + ` ORDER BY owner`)
		if err != nil {
			return err
		}
		for rows.Next() {
			var r ownerRow
			if err := r.scan(rows); err != nil {
				return err
			}
			if !r.isEmpty() {
				all = append(all, r)
			}
		}
		return rows.Err()
	})
	return all, err
}

// Has reports whether the owner has a key or a blob.
func (s *State) Has(ctx context.Context, owner string) (bool, error) {
	r, err := s.usage(ctx, owner)
	return !r.isEmpty(), err
}

// Remove deletes all state of an owner that is gone for good.
func (s *State) Remove(ctx context.Context, owner string) error {
	return s.deleteAll(ctx, owner, func(tx *store.Tx, _ ownerRow) error { return deleteRows(tx, owner, true) })
}

// Clear deletes all keys and blobs of an owner that goes on. Its revisions go on too, since its
// plugin may remember one.
func (s *State) Clear(ctx context.Context, owner string) error {
	return s.deleteAll(ctx, owner, func(tx *store.Tx, before ownerRow) error {
		if err := deleteRows(tx, owner, false); err != nil {
			return err
		}
		return ownerRow{owner: owner, revision: before.revision}.write(tx)
	})
}

// deleteAll deletes an owner's rows by that function, which gets the owner's row before, and then
// the files of its blobs.
func (s *State) deleteAll(ctx context.Context, owner string, rows func(*store.Tx, ownerRow) error) error {
	files, freed := []string(nil), int64(0)
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		before, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		freed = before.bytes()
		if files, err = filesOf(tx, owner); err != nil {
			return err
		}
		return rows(tx, before)
	})
	if err != nil {
		return fmt.Errorf("cannot remove the state of %s: %w", owner, err)
	}
	s.addBytes(-freed)
	failpoint.Hit("state.removed")
	s.removeFiles(files...)
	return nil
}

// deleteRows deletes the keys and blobs of an owner, and its own row too if that is asked for.
func deleteRows(tx *store.Tx, owner string, ownRow bool) error {
	_, err := tx.Exec(`DELETE FROM state_keys WHERE owner = ?`, owner)
	if err == nil {
		_, err = tx.Exec(`DELETE FROM state_blobs WHERE owner = ?`, owner)
	}
	if err == nil && ownRow {
		_, err = tx.Exec(`DELETE FROM state_owners WHERE owner = ?`, owner)
	}
	return err
}

// filesOf returns the names of the files of an owner's blobs.
func filesOf(tx *store.Tx, owner string) (names []string, err error) {
	rows, err := tx.Query(`SELECT file FROM state_blobs WHERE owner = ?`, owner)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// removeFiles removes files that no blob has any more. What can't be removed is logged: the next
// start tries again.
func (s *State) removeFiles(names ...string) {
	s.unlinking.RLock()
	defer s.unlinking.RUnlock()
	if err := s.files.Remove(names...); err != nil {
		s.log.Error().Err(err).Msg("cannot remove the file of a blob that was deleted")
	}
}
