package store

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"

	"dormouse/internal/store/salvage"
)

// layout is a copy of what SQLite keeps of the tables in the first pages of the file. With it
// rows can be found when those pages are damaged.
type layout struct {
	Generation int             `json:"generation"` // grows with each change
	Version    int             `json:"version"`    // of the file
	Owners     map[string]int  `json:"owners"`     // and the versions of their tables
	Tables     []salvage.Table `json:"tables"`
}

// writeLayout writes the copy anew, after a change of the tables.
func writeLayout(tx *Tx) error {
	now, err := readLayout(tx)
	if err != nil {
		return err
	}
	return now.write(tx)
}

// refreshLayout writes the copy anew if it is not like the tables: a backup has them on other
// pages.
func refreshLayout(tx *Tx) error {
	now, err := readLayout(tx)
	if err != nil {
		return err
	}
	if writtenLayout(tx).like(now) {
		return nil
	}
	return now.write(tx)
}

// like reports whether both describe the same tables.
func (l layout) like(other layout) bool {
	return l.Version == other.Version && maps.Equal(l.Owners, other.Owners) && slices.Equal(l.Tables, other.Tables)
}

// writtenLayout returns the copy as it was written, empty if it can't be read.
func writtenLayout(tx *Tx) (l layout) {
	var text string
	var sum int64
	if err := tx.QueryRow("SELECT tables, checksum FROM layout").Scan(&text, &sum); err != nil || sum != layoutSum(text) {
		return layout{}
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return layout{}
	}
	return l
}

// write writes the layout as the newest.
func (l layout) write(tx *Tx) error {
	l.Generation = writtenLayout(tx).Generation + 1
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("cannot describe the tables: %w", err)
	}
	_, err = tx.Exec("INSERT OR REPLACE INTO layout VALUES (1, ?, ?)", string(text), layoutSum(string(text)))
	return err
}

// readLayout returns what SQLite keeps of the tables.
func readLayout(tx *Tx) (layout, error) {
	l := layout{Version: fileVersion, Owners: make(map[string]int)}
	owners, err := tx.Query("SELECT name, version FROM owners")
	if err != nil {
		return l, err
	}
	for owners.Next() {
		var name string
		var version int
		if err := owners.Scan(&name, &version); err != nil {
			return l, err
		}
		l.Owners[name] = version
	}
	if err := owners.Err(); err != nil {
		return l, err
	}
	tables, err := tx.Query("SELECT type, name, tbl_name, rootpage, coalesce(sql, '') FROM sqlite_schema")
	if err != nil {
		return l, err
	}
	for tables.Next() {
		var t salvage.Table
		if err := tables.Scan(&t.Kind, &t.Name, &t.Of, &t.Root, &t.SQL); err != nil {
			return l, err
		}
		l.Tables = append(l.Tables, t)
	}
	return l, tables.Err()
}

// layoutSum returns the checksum of a layout as text.
func layoutSum(text string) int64 {
	return int64(crc32.Checksum([]byte("layout\x00"+text), castagnoli))
}

// findLayout returns the newest layout in a file, from whatever page it is on.
func findLayout(r *salvage.Reader) (newest layout, found bool) {
	r.FindRow(func(row salvage.Row) bool {
		if len(row.Values) != 3 {
			return false
		}
		text, isText := row.Values[1].(string)
		sum, isSum := row.Values[2].(int64)
		if !isText || !isSum || sum != layoutSum(text) {
			return false
		}
		var l layout
		if err := json.Unmarshal([]byte(text), &l); err == nil && (!found || l.Generation > newest.Generation) {
			newest, found = l, true
		}
		return false
	})
	return newest, found
}
