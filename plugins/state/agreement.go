package state

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
)

// agreeWithFiles brings the rows of blobs and their files into agreement: a file without a row is
// what a host that was killed left unfinished, and is removed; a row without its whole file is of
// no use, and goes. What can't be done is logged, since a host with a full disk starts all the
// same. Nothing else uses the state yet.
func (s *State) agreeWithFiles() {
	err := s.openFiles()
	if err != nil {
		s.missing = fmt.Errorf("%w: %w", ErrNoFiles, err)
	} else {
		err = s.sweep()
	}
	if err != nil {
		s.log.Error().Err(err).Msg("cannot look through the blobs")
	}
}

// openFiles makes the directory of the files, unless there are blobs already: then it must be
// there, since a directory that is not mounted says nothing about the blobs.
func (s *State) openFiles() error {
	if s.files.IsThere() {
		return nil
	}
	blobs := 0
	err := s.store.View(context.Background(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT count(*) FROM state_blobs`).Scan(&blobs)
	})
	if err != nil {
		return err
	}
	if blobs > 0 {
		return fmt.Errorf("%s with the files of %d blobs is missing; put it back and start again, or to give the blobs up make an empty file %s",
			s.files.Path(), blobs, filepath.Join(s.files.Path(), ownedtree.MarkName))
	}
	return s.files.Make()
}

// sweep removes rows and files that have lost the other. Of a store that was made anew, whose
// rows may be lost, the files are kept for the operator.
func (s *State) sweep() error {
	sizes, err := s.files.Sizes()
	if err != nil {
		return err
	}
	var lost []lostBlob
	// An Update, not a View: of a store that can't be opened for want of room, a View shows no
	// rows at all.
	err = s.store.Update(context.Background(), func(tx *store.Tx) error {
		if lost, err = takeWholeFiles(tx, sizes); err != nil {
			return err
		}
		for _, b := range lost {
			if err := b.forget(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range lost {
		s.log.Error().Str("owner", b.owner).Str("blob", b.name).Int64("size", b.size).Msg("the file of the blob is missing or has another size, so the blob is lost")
	}
	return s.clearLeftovers(sizes)
}

// lostBlob is a blob without its whole file.
type lostBlob struct {
	owner, name string
	size        int64
}

// takeWholeFiles takes the files that blobs have out of sizes, and returns the blobs whose file
// is not there, or has another size.
func takeWholeFiles(tx *store.Tx, sizes map[string]int64) (lost []lostBlob, err error) {
	rows, err := tx.Query(`SELECT owner, name, file, size FROM state_blobs`)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var b lostBlob
		var file string
		if err := rows.Scan(&b.owner, &b.name, &file, &b.size); err != nil {
			return nil, err
		}
		if size, found := sizes[file]; found && size == b.size {
			delete(sizes, file)
		} else {
			lost = append(lost, b)
		}
	}
	return lost, rows.Err()
}

// forget deletes the row of a blob, and counts it no more.
func (b lostBlob) forget(tx *store.Tx) error {
	row, err := readOwner(tx, b.owner)
	if err != nil {
		return err
	}
	row.revision++
	row.blobs--
	row.blobBytes -= b.size
	if _, err := tx.Exec(`DELETE FROM state_blobs WHERE owner = ? AND name = ?`, b.owner, b.name); err != nil {
		return err
	}
	return row.write(tx)
}

// clearLeftovers removes the files of no blob, or keeps them for the operator if the rows of
// their blobs may be lost.
func (s *State) clearLeftovers(sizes map[string]int64) error {
	var errs []error
	for name := range sizes {
		if !s.store.Rebuilt() {
			errs = append(errs, s.files.Remove(name))
			continue
		}
		path, err := s.files.SetAside(name)
		errs = append(errs, err)
		if err == nil {
			s.log.Warn().Str("file", path).Msg("no blob has this file, and the store was made anew: it is kept here")
		}
	}
	return errors.Join(errs...)
}
