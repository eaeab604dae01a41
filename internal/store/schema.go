package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"dormouse/internal/atomicfile"
)

// fileVersion is the version of the file as a whole, which SQLite keeps as user_version.
const fileVersion = 1

// owner is who has defined tables in the file: a name, and the SQL of each version.
type owner struct {
	name     string
	versions []string
}

// own are the store's tables of records.
var own = owner{"records", []string{`
CREATE TABLE records (
	bucket   TEXT NOT NULL,
	key      TEXT NOT NULL,
	value    TEXT NOT NULL, -- JSON
	checksum INTEGER NOT NULL, -- CRC-32C of all that stands before
	PRIMARY KEY (bucket, key)
);
CREATE TABLE damaged_records ( -- that were found not to be as they were written
	bucket   TEXT NOT NULL,
	key      TEXT NOT NULL,
	value    TEXT,
	checksum INTEGER,
	found    TEXT NOT NULL -- when
);
CREATE TABLE layout (
	id       INTEGER PRIMARY KEY,
	tables   TEXT NOT NULL, -- JSON
	checksum INTEGER NOT NULL
);
`}}

// Define makes the tables of one owner, or brings them up to date: each version is the SQL
// that makes it of the version before, and is run once in the life of a file. Versions are
// only ever added. The error wraps ErrNewer if the file has a version that is not among them.
func (s *Store) Define(name string, versions ...string) error {
	tables := owner{name, versions}
	isUpToDate := false
	err := s.View(context.Background(), func(tx *Tx) error {
		has, err := tables.version(tx)
		isUpToDate = has == len(versions)
		return err
	})
	if err == nil && !isUpToDate {
		err = s.Update(context.Background(), tables.bringUpToDate)
	}
	if err != nil && !atomicfile.IsNoRoom(err) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil || err == nil { // a file that is made later gets them then
		s.owners = append(s.owners, tables)
		return nil
	}
	return err
}

// makeOwnTables makes the store's own tables in a new file. The error wraps ErrNewer if a
// newer version of this program has made the file.
func makeOwnTables(tx *Tx) error {
	var version int
	if err := tx.QueryRow("PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > fileVersion {
		return fmt.Errorf("%w: it has version %d, this program knows %d; install the newer one again", ErrNewer, version, fileVersion)
	}
	var has int
	if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema WHERE name = 'owners'").Scan(&has); err != nil {
		return err
	}
	if version == 0 || has == 0 {
		err := tx.connection.run(fmt.Sprintf(`
			PRAGMA user_version = %d;
			CREATE TABLE IF NOT EXISTS owners (name TEXT PRIMARY KEY, version INTEGER NOT NULL);`, fileVersion))
		if err != nil {
			return err
		}
	}
	return own.bringUpToDate(tx)
}

// version returns the version of the owner's tables, 0 if there are none.
func (o owner) version(tx *Tx) (has int, err error) {
	err = tx.QueryRow("SELECT version FROM owners WHERE name = ?", o.name).Scan(&has)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("cannot read the version of %s: %w", o.name, err)
	}
	return has, nil
}

// bringUpToDate runs the versions that the file does not have yet.
func (o owner) bringUpToDate(tx *Tx) error {
	has, err := o.version(tx)
	if err != nil {
		return err
	}
	if has > len(o.versions) {
		return fmt.Errorf("%w: its %s have version %d, this program knows %d; install the newer one again", ErrNewer, o.name, has, len(o.versions))
	}
	if has == len(o.versions) {
		return nil
	}
	for n, version := range o.versions[has:] {
		if err := tx.connection.run(version); err != nil {
			return fmt.Errorf("cannot make version %d of %s: %w", has+n+1, o.name, err)
		}
	}
	if _, err = tx.Exec("INSERT OR REPLACE INTO owners VALUES (?, ?)", o.name, len(o.versions)); err != nil {
		return err
	}
	return writeLayout(tx)
}

// tableNames returns the names of all tables.
func tableNames(tx *Tx) (names []string, err error) {
	rows, err := tx.Query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
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

// lookAtAllTables reads the first row of every table, so that a table that can't be read at
// all is found at once.
func lookAtAllTables(tx *Tx) error {
	names, err := tableNames(tx)
	if err != nil {
		return err
	}
	for _, name := range names {
		first, err := tx.connection.conn.QueryContext(tx.ctx, "SELECT 1 FROM "+quoted(name)+" LIMIT 1")
		if err != nil {
			return err
		}
		first.Next()
		if err := errors.Join(first.Err(), first.Close()); err != nil {
			return err
		}
	}
	return nil
}
