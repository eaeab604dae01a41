package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/failpoint"
	"dormouse/internal/store/salvage"
)

// rebuild makes a new file of all rows of the damaged one that can be read, and tells each that
// can't. The damaged one is kept beside it. The error wraps ErrDamaged if nothing of it can be
// read; then nothing is changed.
func rebuild(path string, m mark, o Options) error {
	im, err := salvage.Open(path, m.logOf(path))
	if err != nil {
		return err
	}
	defer im.Close()
	from, err := readDamaged(im)
	if err != nil {
		return err
	}
	if m.Kept == "" {
		m.Kept = path + time.Now().Format(".damaged-20060102T150405")
	}
	if err := m.write(path); err != nil {
		return err
	}
	if err := removeWithCompanions(path + newSuffix); err != nil {
		return err
	}
	var report []string
	from.tell = func(message string) { report = append(report, message) }
	if err := makeFilled(path+newSuffix, from.copyTo); err != nil {
		return errors.Join(err, removeWithCompanions(path+newSuffix))
	}
	failpoint.Hit("store.made")
	if err := m.replaceDamaged(path); err != nil {
		return err
	}
	o.tell(fmt.Sprintf("the store %s was damaged (%s): %d rows were copied into a new file, %s; the damaged file is kept as %s",
		path, m.Why, from.copied, lostInWords(from.lost), m.Kept))
	for _, message := range report {
		o.tell("the store was damaged: " + message)
	}
	return removeMark(path)
}

// lostInWords says how many rows were lost, as far as it is known.
func lostInWords(lost int) string {
	if lost == 0 {
		return "none is known to be lost"
	}
	return fmt.Sprintf("%d were lost or could not be told", lost)
}

// rebuildError hides that there is no room: a store that is empty instead would forget what is
// in the file.
func rebuildError(err error) error {
	if atomicfile.IsNoRoom(err) {
		return fmt.Errorf("it is damaged, and there is no room to copy what can still be read of it; make room and start again: %s", err.Error())
	}
	return err
}

// damaged is a damaged file, whose rows are to be copied.
type damaged struct {
	reader  *salvage.Reader
	layout  layout
	tables  []salvage.Table
	tell    func(message string)
	copied  int
	lost    int
	leftOut []string                 // tables
	gaps    map[string][]salvage.Gap // by table
	columns map[string]columns
}

// readDamaged reads what tables the file has, from their copy if SQLite's own list is damaged.
// The error wraps ErrDamaged if neither can be read.
func readDamaged(im *salvage.Image) (*damaged, error) {
	d := &damaged{reader: salvage.NewReader(im), gaps: make(map[string][]salvage.Gap), columns: make(map[string]columns)}
	var gaps []salvage.Gap
	var err error
	if d.tables, gaps, err = d.reader.Tables(); err != nil && !errors.Is(err, salvage.ErrNotSQLite) {
		return nil, err
	}
	var found bool
	d.layout, found = findLayout(d.reader)
	if found && (len(gaps) > 0 || len(d.tables) < len(d.layout.Tables)) {
		d.tables = d.layout.Tables
	}
	if !found {
		d.layout.Version = d.reader.UserVersion()
	}
	if d.layout.Version > fileVersion {
		return nil, ErrNewer
	}
	owners := slices.IndexFunc(d.tables, func(t salvage.Table) bool { return t.Name == "owners" })
	if owners < 0 {
		return nil, fmt.Errorf("%w: nothing in it says that it is a store", ErrDamaged)
	}
	if !found {
		gaps, err := salvage.NewReader(im).Rows(d.tables[owners], func(salvage.Row) error { return nil })
		if err != nil {
			return nil, err
		}
		if len(gaps) > 0 {
			d.leaveOutUnknownVersions()
		}
	}
	return d, nil
}

// leaveOutUnknownVersions leaves out all tables but the store's own, when it can't be told
// which versions they have: their owners make new ones.
func (d *damaged) leaveOutUnknownVersions() {
	isOwn := func(name string) bool {
		return name == "owners" || strings.Contains(own.versions[0], "CREATE TABLE "+name+" (")
	}
	d.tables = slices.DeleteFunc(d.tables, func(t salvage.Table) bool {
		if isOwn(t.Of) {
			return false
		}
		if t.Kind == "table" {
			d.leftOut = append(d.leftOut, t.Name)
		}
		return true
	})
	d.layout.Owners = map[string]int{own.name: 1}
}

// copyTo makes the tables in the new file and copies the rows.
func (d *damaged) copyTo(tx *Tx) error {
	for _, name := range d.leftOut {
		d.lose(fmt.Sprintf("the version of table %s is lost, so its rows are only in the file that is kept", name))
	}
	if err := tx.connection.run(fmt.Sprintf("PRAGMA user_version = %d", fileVersion)); err != nil {
		return err
	}
	for _, kind := range []string{"table", "index"} { // an index also says which rows can't be
		if err := d.makeAll(tx, kind); err != nil {
			return err
		}
	}
	for _, table := range d.tables {
		if table.Kind != "table" || isSQLites(table.Name) {
			continue
		}
		if err := d.copyTable(tx, table); err != nil {
			return fmt.Errorf("cannot copy %s: %w", table.Name, err)
		}
	}
	if err := d.copyOrphans(tx); err != nil {
		return err
	}
	if err := d.nameLost(tx); err != nil {
		return err
	}
	for _, kind := range []string{"view", "trigger"} {
		if err := d.makeAll(tx, kind); err != nil {
			return err
		}
	}
	if err := d.restoreOwners(tx); err != nil {
		return err
	}
	if err := makeOwnTables(tx); err != nil {
		return err
	}
	return writeLayout(tx)
}

// makeAll makes all of that kind. What SQLite makes by itself has no SQL.
func (d *damaged) makeAll(tx *Tx, kind string) error {
	for _, made := range d.tables {
		if made.Kind != kind || made.SQL == "" || isSQLites(made.Name) {
			continue
		}
		if err := tx.connection.run(made.SQL); err != nil {
			return fmt.Errorf("cannot make %s %s again: %w", kind, made.Name, err)
		}
	}
	return nil
}

// isSQLites reports whether SQLite itself makes a table of that name.
func isSQLites(name string) bool { return strings.HasPrefix(name, "sqlite_") }

// restoreOwners writes the versions of tables that were lost, from the copy.
func (d *damaged) restoreOwners(tx *Tx) error {
	for name, version := range d.layout.Owners {
		if _, err := tx.Exec("INSERT OR IGNORE INTO owners VALUES (?, ?)", name, version); err != nil {
			return err
		}
	}
	return nil
}

// copyTable copies the rows of one table.
func (d *damaged) copyTable(tx *Tx, table salvage.Table) error {
	cs, err := columnsOf(tx, table.Name)
	if err != nil {
		return err
	}
	d.columns[table.Name] = cs
	gaps, err := d.reader.Rows(table, func(row salvage.Row) error { return d.insert(tx, table.Name, row) })
	d.gaps[table.Name] = gaps
	return err
}

// insert puts one row into the new table. A row that does not fit is lost.
func (d *damaged) insert(tx *Tx, table string, row salvage.Row) error {
	cs := d.columns[table]
	text, args, ok := cs.insert(row)
	if !ok {
		d.lose(fmt.Sprintf("row %d of %s has %d values", row.ID, table, len(row.Values)))
		return nil
	}
	result, err := tx.Exec(text, args...)
	if err != nil {
		if isSystemError(err) || errors.Is(err, ErrDamaged) {
			return err
		}
		d.lose(fmt.Sprintf("row %d of %s does not fit: %v", row.ID, table, err))
		return nil
	}
	if n, err := result.RowsAffected(); err == nil && n == 0 {
		d.lose(fmt.Sprintf("row %d of %s is there twice, or lacks a value", row.ID, table))
		return nil
	}
	d.copied++
	return nil
}

// lose tells what was lost.
func (d *damaged) lose(what string) {
	d.lost++
	d.tell(what)
}
