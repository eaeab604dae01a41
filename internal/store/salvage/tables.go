package salvage

import (
	"maps"
	"math"
)

// Table is what a file says of one of its tables or indexes.
type Table struct {
	Kind string // table, index, trigger or view
	Name string
	Of   string // the table, of an index
	Root uint32 // the page that leads to its rows; 0 for none
	SQL  string // what makes it; empty for an index that its table makes
}

// Reader reads the tables of an image one after the other. What all of them leave over can be
// of none that was read.
type Reader struct {
	image *Image
	used  map[uint32]bool
}

// NewReader returns a reader of the image.
func NewReader(im *Image) *Reader {
	return &Reader{image: im, used: make(map[uint32]bool)}
}

// Tables returns what the file says of its tables, and what of that is damaged. The error is
// ErrNotSQLite if it says nothing.
func (r *Reader) Tables() (tables []Table, gaps []Gap, err error) {
	w := &walk{image: r.image, used: make(map[uint32]bool)}
	w.each = func(row Row) error {
		if table, ok := tableOf(row); ok {
			tables = append(tables, table)
		} else {
			w.gaps = append(w.gaps, Gap{Page: 1, From: row.ID - 1, To: row.ID, Cells: 1})
		}
		return nil
	}
	if err := w.rows(1, math.MinInt64, math.MaxInt64, 0); err != nil {
		return nil, nil, err
	}
	if !r.image.intact && len(tables) == 0 {
		err = ErrNotSQLite
	}
	if !r.image.intact {
		w.gaps = append(w.gaps, Gap{Page: 1, From: math.MinInt64, To: math.MaxInt64})
	}
	return tables, w.gaps, err
}

// UserVersion returns the version that the file's owner has written, 0 if that is damaged.
func (r *Reader) UserVersion() int {
	if !r.image.intact {
		return 0
	}
	return int(r.image.userVersion())
}

// tableOf returns the table that a row of the schema is about.
func tableOf(row Row) (table Table, ok bool) {
	if len(row.Values) != 5 {
		return Table{}, false
	}
	var root int64
	table.Kind, ok = row.Values[0].(string)
	for n, to := range map[int]*string{1: &table.Name, 2: &table.Of} {
		text, is := row.Values[n].(string)
		*to, ok = text, ok && is
	}
	if row.Values[3] != nil {
		number, is := row.Values[3].(int64)
		root, ok = number, ok && is
	}
	table.SQL, _ = row.Values[4].(string)
	table.Root = uint32(root) //nolint:gosec // a page that is not there is found missing
	return table, ok
}

// Rows calls each with every row of the table, or entry of the index, that can be read, and
// returns where others were lost. The error is that of each.
func (r *Reader) Rows(t Table, each func(Row) error) ([]Gap, error) {
	w := &walk{image: r.image, used: r.used, each: each}
	err := w.rows(t.Root, math.MinInt64, math.MaxInt64, 0)
	return w.gaps, err
}

// Entries is Rows for an index. What a table has is not taken from it by an entry that leads
// there.
func (r *Reader) Entries(index Table, each func(Row) error) ([]Gap, error) {
	w := &walk{image: r.image, used: make(map[uint32]bool), each: each}
	err := w.rows(index.Root, math.MinInt64, math.MaxInt64, 0)
	maps.Copy(r.used, w.used)
	return w.gaps, err
}

// Orphan is a page of rows to which nothing leads any more.
type Orphan struct {
	Page   uint32
	IsKeys bool // it is of an index, or of a table without rowids
	Rows   []Row
}

// Orphans returns the pages of rows that are of no tree that was read, and are not free. It
// returns none if it can't be told which pages are free, for those hold rows that were deleted.
func (r *Reader) Orphans() (orphans []Orphan) {
	free, all := r.image.freePages()
	if !all {
		return nil
	}
	for page := uint32(2); page <= r.image.pages; page++ {
		if r.used[page] || free[page] {
			continue
		}
		data := r.image.page(page)
		kind, cells, ok := r.image.cells(page, data)
		if !ok || kind == interiorTable {
			continue
		}
		orphan := Orphan{Page: page, IsKeys: kind != leafTable}
		for _, at := range cells {
			row, err := r.image.cell(kind, data, at, r.used)
			if err == nil {
				orphan.Rows = append(orphan.Rows, row)
			}
		}
		if len(orphan.Rows) > 0 {
			orphans = append(orphans, orphan)
		}
	}
	return orphans
}

// FindRow calls is with every row of every page of a table, until is returns true. It looks at
// all pages, also at free ones.
func (r *Reader) FindRow(is func(Row) bool) {
	for page := uint32(2); page <= r.image.pages; page++ {
		data := r.image.page(page)
		kind, cells, ok := r.image.cells(page, data)
		if !ok || kind != leafTable {
			continue
		}
		for _, at := range cells {
			if row, err := r.image.cell(kind, data, at, make(map[uint32]bool)); err == nil && is(row) {
				return
			}
		}
	}
}
