package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/failpoint"
	"dormouse/internal/store/carryover"
)

// Names beside the file: what is being made in its place, and what it was before.
const (
	newSuffix  = "-new"
	keptSuffix = ".before-sqlite"
)

// carryOver replaces the file of bbolt at path by one of SQLite with the same records, and
// keeps the old one beside it. A crash leaves the one or the other at path, each whole. If
// there is no room, the error does not say so by its kind: a store that is empty instead
// would forget what is in the file.
func carryOver(path string, o Options) error {
	kept, err := makeNew(path, func(tx *Tx) error {
		if err := makeOwnTables(tx); err != nil {
			return err
		}
		return carryover.ReadAll(path, func(bucket, key string, value []byte) error {
			if !json.Valid(value) {
				return fmt.Errorf("%w: %s %q is not JSON", carryover.ErrDamaged, bucket, key)
			}
			return record{bucket: bucket, key: key, value: string(value)}.put(tx)
		})
	}, path+keptSuffix)
	if atomicfile.IsNoRoom(err) {
		return fmt.Errorf("there is no room to carry its records over into a new file; free %s and start again: %s", sizeOf(path), err.Error())
	}
	if err == nil {
		o.tell(fmt.Sprintf("the records of %s were carried over into a file of SQLite; the old file is kept as %s", path, kept))
	}
	return err
}

// sizeOf returns about how much room a file of the same contents takes.
func sizeOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "some"
	}
	return fmt.Sprintf("%d KiB", 1024+2*info.Size()/1024)
}

// makeNew makes a new file with what fill puts into it, and lets it take the place of the one
// at path, which is kept by the name kept, or a name with a date if that is taken. It returns
// the name. A crash leaves the one or the other at path, each whole.
func makeNew(path string, fill func(*Tx) error, kept string) (string, error) {
	made := path + newSuffix
	if err := removeWithCompanions(made); err != nil {
		return "", err
	}
	if err := makeFilled(made, fill); err != nil {
		return "", errors.Join(err, removeWithCompanions(made))
	}
	failpoint.Hit("store.made")
	kept, err := keepAs(path, kept)
	if err != nil {
		return "", err
	}
	failpoint.Hit("store.kept")
	for _, suffix := range []string{walSuffix, shmSuffix} { // bbolt has none, and SQLite would believe them
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	if err := os.Rename(made, path); err != nil {
		return "", err
	}
	failpoint.Hit("store.renamed")
	return kept, atomicfile.SyncDir(filepath.Dir(path))
}

// makeFilled makes a file with what fill puts into it. It is on disk, as one file, when
// makeFilled returns nil.
func makeFilled(path string, fill func(*Tx) error) error {
	if err := makeEmpty(path); err != nil {
		return err
	}
	db, err := database(path)
	if err != nil {
		return err
	}
	c, err := connect(db, writerSettings)
	if err == nil {
		if err = c.inTransaction(fill); err == nil {
			err = c.run("PRAGMA wal_checkpoint(TRUNCATE)")
		}
		c.close()
	}
	err = errors.Join(explained(err), db.Close())
	if _, serr := os.Lstat(path + walSuffix); err == nil && serr == nil {
		err = fmt.Errorf("cannot write all of %s", path)
	}
	return err
}

// keepAs gives the file at path one name more.
func keepAs(path, kept string) (string, error) {
	err := os.Link(path, kept)
	if errors.Is(err, fs.ErrExist) {
		if isSameFile(path, kept) {
			return kept, nil // a crash came between
		}
		kept += time.Now().Format("-20060102T150405")
		err = os.Link(path, kept)
	}
	if err != nil {
		return "", fmt.Errorf("cannot keep the old file: %w", err)
	}
	return kept, nil
}

// isSameFile reports whether both paths name one file.
func isSameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// removeWithCompanions removes the file at path, and what SQLite has beside it.
func removeWithCompanions(path string) error {
	var errs []error
	for _, suffix := range []string{"", walSuffix, shmSuffix} {
		if err := os.Remove(path + suffix); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
