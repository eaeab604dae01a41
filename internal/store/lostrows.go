package store

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"dormouse/internal/store/salvage"
)

// copyOrphans copies the pages to which nothing leads any more, where it is plain of which
// table they are: a page leading there was damaged, and the rows fit no other table.
func (d *damaged) copyOrphans(tx *Tx) error {
	if !d.hasGaps() {
		return nil
	}
	if err := d.readIndexes(tx); err != nil {
		return err
	}
	for _, orphan := range d.reader.Orphans() {
		tables, indexes := d.tablesFor(orphan), d.indexesFor(orphan)
		switch {
		case len(tables) == 0 && len(indexes) > 0: // the new table has an index of its own
		case len(tables) != 1 || len(indexes) > 0:
			d.lose(fmt.Sprintf("%d rows on page %d can be of %s", len(orphan.Rows), orphan.Page, orNone(append(tables, indexes...))))
		default:
			for _, row := range orphan.Rows {
				if err := d.insert(tx, tables[0], row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readIndexes finds which pages are of an index, and which indexes are damaged.
func (d *damaged) readIndexes(tx *Tx) error {
	for _, index := range d.tables {
		if index.Kind != "index" || d.columns[index.Of].isWithoutRowID && index.SQL == "" { // the table itself
			continue
		}
		names, err := indexColumns(tx, index.Name)
		if err != nil {
			return err
		}
		d.columns[index.Name] = columns{names: append(names, "rowid"), alias: -1, isWithoutRowID: true}
		if d.gaps[index.Name], err = d.reader.Entries(index, func(salvage.Row) error { return nil }); err != nil {
			return err
		}
	}
	return nil
}

// orNone returns the names with "or" between them.
func orNone(names []string) string {
	if len(names) == 0 {
		return "no table that is known"
	}
	return strings.Join(names, " or ")
}

// hasGaps reports whether a page of some table was damaged.
func (d *damaged) hasGaps() bool {
	for _, gaps := range d.gaps {
		if len(gaps) > 0 {
			return true
		}
	}
	return false
}

// tablesFor returns the tables of which the page can be.
func (d *damaged) tablesFor(orphan salvage.Orphan) []string { return d.candidates("table", orphan) }

// indexesFor returns the indexes of which the page can be.
func (d *damaged) indexesFor(orphan salvage.Orphan) []string { return d.candidates("index", orphan) }

// candidates returns what of that kind has lost a page, and can have had this one below it.
func (d *damaged) candidates(kind string, orphan salvage.Orphan) (names []string) {
	for _, table := range d.tables {
		cs, known := d.columns[table.Name]
		if table.Kind != kind || !known || cs.isWithoutRowID != orphan.IsKeys {
			continue
		}
		if slices.ContainsFunc(d.gaps[table.Name], func(gap salvage.Gap) bool { return gap.Cells == 0 && cs.fit(orphan.Rows, gap) }) {
			names = append(names, table.Name)
		}
	}
	return names
}

// nameLost tells which pages of tables were damaged, and names the rows that an index still
// knows.
func (d *damaged) nameLost(tx *Tx) error {
	for _, table := range d.tables {
		gaps := d.gaps[table.Name]
		if table.Kind != "table" || len(gaps) == 0 || d.isMadeAnew(table.Name) {
			continue
		}
		for _, gap := range gaps {
			d.tell(fmt.Sprintf("of table %s %s", table.Name, gap))
		}
		named := make(map[int64]bool)
		for _, index := range d.tables {
			if index.Kind == "index" && index.Of == table.Name && !d.columns[table.Name].isWithoutRowID {
				if err := d.nameFrom(tx, index, named); err != nil {
					return err
				}
			}
		}
		if len(named) == 0 {
			d.lost += len(gaps)
		}
	}
	return nil
}

// isMadeAnew reports whether the rows of the table are known from elsewhere.
func (d *damaged) isMadeAnew(table string) bool {
	return table == "layout" || table == "owners" && d.layout.Owners != nil
}

// nameFrom tells the rows that are in the index and not in the new table.
func (d *damaged) nameFrom(tx *Tx, index salvage.Table, named map[int64]bool) error {
	names, err := indexColumns(tx, index.Name)
	if err != nil {
		return err
	}
	_, err = d.reader.Entries(index, func(entry salvage.Row) error {
		last := len(entry.Values) - 1
		if last < 0 {
			return nil
		}
		id, is := entry.Values[last].(int64)
		if !is || named[id] {
			return nil
		}
		var has int
		if err := tx.QueryRow(fmt.Sprintf("SELECT count(*) FROM %s WHERE rowid = ?", quoted(index.Of)), id).Scan(&has); err != nil || has > 0 {
			return err
		}
		named[id] = true
		var key []string
		for n, value := range entry.Values[:last] {
			if n < len(names) {
				key = append(key, fmt.Sprintf("%s %v", names[n], value))
			}
		}
		d.lose(fmt.Sprintf("row %d of %s was lost: %s", id, index.Of, strings.Join(key, ", ")))
		return nil
	})
	return err
}

// columns are those of one table.
type columns struct {
	names          []string // in the order in which a row has them
	alias          int      // which of them is the rowid, -1 for none
	isWithoutRowID bool
	into           string // the beginning of the statement that inserts a row
}

// columnsOf returns the columns of a table of the new file.
func columnsOf(tx *Tx, table string) (columns, error) {
	cs := columns{alias: -1, into: "INSERT OR IGNORE INTO " + quoted(table)}
	if err := tx.QueryRow("SELECT wr FROM pragma_table_list WHERE name = ? AND schema = 'main'", table).Scan(&cs.isWithoutRowID); err != nil {
		return columns{}, err
	}
	order := "cid"
	if cs.isWithoutRowID {
		order = "pk = 0, pk, cid" // a row begins with its key
	}
	rows, err := tx.Query("SELECT name, type, pk, (SELECT count(*) FROM pragma_table_info(?1) WHERE pk > 0) FROM pragma_table_info(?1) ORDER BY "+order, table)
	if err != nil {
		return columns{}, err
	}
	for rows.Next() {
		var name, kind string
		var place, keys int
		if err := rows.Scan(&name, &kind, &place, &keys); err != nil {
			return columns{}, err
		}
		if place == 1 && keys == 1 && strings.EqualFold(kind, "INTEGER") && !cs.isWithoutRowID {
			cs.alias = len(cs.names)
		}
		cs.names = append(cs.names, name)
	}
	return cs, rows.Err()
}

// insert returns the statement that inserts the row, and its arguments. A row of before a
// column was added has fewer values. With more, or none, it is not of this table.
func (cs columns) insert(row salvage.Row) (text string, args []any, ok bool) {
	if len(row.Values) == 0 || len(row.Values) > len(cs.names) {
		return "", nil, false
	}
	names := make([]string, 0, len(row.Values)+1)
	for n, value := range row.Values {
		if n == cs.alias {
			value = row.ID
		}
		names, args = append(names, quoted(cs.names[n])), append(args, value)
	}
	if cs.alias < 0 && !cs.isWithoutRowID {
		names, args = append(names, "rowid"), append(args, row.ID)
	}
	marks := strings.Repeat(", ?", len(names))[2:]
	return fmt.Sprintf("%s (%s) VALUES (%s)", cs.into, strings.Join(names, ", "), marks), args, true
}

// fit reports whether the rows can be those of the table that were lost at the gap.
func (cs columns) fit(rows []salvage.Row, gap salvage.Gap) bool {
	for _, row := range rows {
		isBefore := row.ID <= gap.From && gap.From != math.MinInt64
		if len(row.Values) != len(cs.names) || !cs.isWithoutRowID && (isBefore || row.ID > gap.To) {
			return false
		}
		if cs.alias >= 0 && row.Values[cs.alias] != nil {
			return false
		}
	}
	return true
}

// indexColumns returns the names of the columns of an index of the new file.
func indexColumns(tx *Tx, index string) (names []string, err error) {
	rows, err := tx.Query("SELECT coalesce(name, '') FROM pragma_index_info(?) ORDER BY seqno", index)
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

// quoted returns a name as SQL wants it.
func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
