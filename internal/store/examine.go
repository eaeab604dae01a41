package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"dormouse/internal/atomicfile"
	"dormouse/internal/store/carryover"
)

// Examination is what a look at a file finds, whether a host has it open or not.
type Examination struct {
	Path     string      `json:"path"`
	Bytes    int64       `json:"bytes"` // of the file and its log
	Tables   []TableSize `json:"tables"`
	Problems []string    `json:"problems"` // none if all is well
}

// TableSize says how much a table holds.
type TableSize struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

// Examine checks the whole file at path and every record in it, and changes nothing. The error
// says that this can't be done; what is damaged is a problem and no error.
func Examine(ctx context.Context, path string) (Examination, error) {
	x := Examination{Path: path, Tables: []TableSize{}, Problems: []string{}}
	for _, suffix := range []string{"", walSuffix} {
		if info, err := os.Stat(path + suffix); err == nil {
			x.Bytes += info.Size()
		}
	}
	m, found, err := readMark(path)
	if err != nil {
		return x, err
	}
	if found {
		x.Problems = append(x.Problems, "the host has found it damaged, and copies what can be read when it starts: "+m.Why)
	}
	err = beside(path, func(c *connection) error {
		problems, err := c.problems(ctx, fmt.Sprintf("PRAGMA integrity_check(%d)", maxProblems))
		x.Problems = append(x.Problems, problems...)
		if err != nil {
			return err
		}
		return c.view(ctx, x.look)
	})
	if errors.Is(err, ErrDamaged) {
		x.Problems = append(x.Problems, err.Error())
		err = nil
	}
	return x, err
}

// look counts the rows of each table, and verifies the records.
func (x *Examination) look(tx *Tx) error {
	names, err := tableNames(tx)
	if err != nil {
		return err
	}
	for _, name := range names {
		size := TableSize{Table: name}
		if err := tx.connection.conn.QueryRowContext(tx.ctx, "SELECT count(*) FROM "+quoted(name)).Scan(&size.Rows); err != nil {
			return err
		}
		x.Tables = append(x.Tables, size)
	}
	return forEachRecord(tx, func(_ int64, r record) error {
		if r.verify() != nil {
			x.Problems = append(x.Problems, fmt.Sprintf("the record %s %q is not as it was written", r.bucket, r.key))
		}
		return nil
	})
}

// Backup writes a copy of the file at path, as it is now, to a new file that has mode 0600. A
// host may have the file open, and go on meanwhile. The copy is on disk when Backup returns
// nil; after an error there is none.
func Backup(ctx context.Context, path, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return &fs.PathError{Op: "write", Path: to, Err: fs.ErrExist}
	}
	part := to + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := makeEmpty(part)
	if err == nil {
		err = beside(path, func(c *connection) error {
			_, err := c.conn.ExecContext(ctx, "VACUUM INTO ?", part)
			return explained(err)
		})
	}
	if err == nil {
		err = syncFile(part)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		_ = os.Remove(part)
		return err
	}
	return atomicfile.SyncDir(dirOf(to))
}

// beside calls work with a connection to the file at path, which must be there.
func beside(path string, work func(*connection) error) error {
	begin, err := beginOf(path)
	switch {
	case err != nil:
		return err
	case carryover.IsBegin(begin):
		return fmt.Errorf("%s is of a version before SQLite; the host carries it over when it starts", path)
	}
	db, err := database(path)
	if err != nil {
		return err
	}
	c, err := connect(db, besideSettings)
	if err == nil {
		err = work(c)
		c.close()
	}
	return errors.Join(explained(err), db.Close())
}

// syncFile makes the contents of a file durable.
func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
