package salvage

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Kinds of pages in a tree.
const (
	interiorIndex = 2
	interiorTable = 5
	leafIndex     = 10
	leafTable     = 13
)

// maxDepth is how deep a tree can be.
const maxDepth = 24

// Row is one row: its rowid and its values, or in a tree of keys its values alone.
type Row struct {
	ID     int64
	Values []any
}

// Gap is a place where rows were lost: one page, or one cell of it.
type Gap struct {
	Page     uint32
	From, To int64 // the rowids that can have been there, without From itself
	Cells    int   // how many of the page's rows were lost; 0 if that can't be told
}

// String says what was lost.
func (g Gap) String() string {
	where := fmt.Sprintf("page %d is damaged", g.Page)
	if g.Cells > 0 {
		where = fmt.Sprintf("page %d is damaged at %d of its rows", g.Page, g.Cells)
	}
	switch {
	case g.From == math.MinInt64 && g.To == math.MaxInt64:
		return where
	case g.From == math.MinInt64:
		return fmt.Sprintf("%s, which has rows up to %d", where, g.To)
	case g.To == math.MaxInt64:
		return fmt.Sprintf("%s, which has rows after %d", where, g.From)
	default:
		return fmt.Sprintf("%s, which has rows from %d to %d", where, g.From+1, g.To)
	}
}

// walk is one reading of a tree.
type walk struct {
	image *Image
	used  map[uint32]bool // pages that are of some tree
	each  func(Row) error
	gaps  []Gap
}

// rows calls each with every row of the tree below the page that can be read, in order.
func (w *walk) rows(page uint32, from, to int64, depth int) error {
	data := w.image.page(page)
	if data == nil || w.used[page] || depth > maxDepth {
		w.gaps = append(w.gaps, Gap{Page: page, From: from, To: to})
		return nil
	}
	kind, cells, ok := w.image.cells(page, data)
	if !ok {
		w.used[page] = true
		w.gaps = append(w.gaps, Gap{Page: page, From: from, To: to})
		return nil
	}
	w.used[page] = true
	switch kind {
	case leafTable:
		return w.leaf(page, data, cells, from, to)
	case interiorTable:
		return w.interior(page, data, cells, from, to, depth)
	default:
		return w.index(page, kind, data, cells, depth)
	}
}

// cells returns the kind of a page of a tree and where its cells begin, and whether it is such
// a page at all.
func (im *Image) cells(page uint32, data []byte) (kind byte, cells []int, ok bool) {
	head := 0
	if page == 1 {
		head = 100
	}
	kind = data[head]
	length := 8
	switch kind {
	case interiorIndex, interiorTable:
		length = 12
	case leafIndex, leafTable:
	default:
		return 0, nil, false
	}
	count := int(binary.BigEndian.Uint16(data[head+3:]))
	begin := head + length + 2*count
	if begin > im.usable {
		return 0, nil, false
	}
	for n := range count {
		at := int(binary.BigEndian.Uint16(data[head+length+2*n:]))
		if at < begin || at >= im.usable {
			at = -1
		}
		cells = append(cells, at)
	}
	return kind, cells, true
}

// leaf reads the rows of a page of a table.
func (w *walk) leaf(page uint32, data []byte, cells []int, from, to int64) error {
	gap := Gap{Page: page, From: from, To: to}
	for _, at := range cells {
		row, err := w.image.cell(leafTable, data, at, w.used)
		if err != nil || row.ID <= from && from != math.MinInt64 || row.ID > to {
			gap.Cells++
			continue
		}
		if err := w.each(row); err != nil {
			return err
		}
	}
	if gap.Cells > 0 {
		w.gaps = append(w.gaps, gap)
	}
	return nil
}

// cell returns the row of a cell of a page of that kind, which is none that leads to a table's
// rows.
func (im *Image) cell(kind byte, data []byte, at int, used map[uint32]bool) (row Row, err error) {
	if at < 0 || at+5 > im.usable && kind == interiorIndex {
		return Row{}, errDamaged
	}
	cell := data[at:im.usable]
	if kind == interiorIndex {
		cell = cell[4:] // after the page that it leads to
	}
	size, n := varint(cell)
	if n == 0 {
		return Row{}, errDamaged
	}
	cell = cell[n:]
	if kind == leafTable {
		id, m := varint(cell)
		if m == 0 {
			return Row{}, errDamaged
		}
		row.ID, cell = int64(id), cell[m:] //nolint:gosec // the sign is meant
	}
	record, err := im.payload(cell, size, kind == leafTable, used)
	if err == nil {
		row.Values, err = decode(record)
	}
	return row, err
}

// interior reads the pages that a page of a table leads to.
func (w *walk) interior(page uint32, data []byte, cells []int, from, to int64, depth int) error {
	head := 0
	if page == 1 {
		head = 100
	}
	last := binary.BigEndian.Uint32(data[head+8:])
	for _, at := range cells {
		if at < 0 || at+5 > w.image.usable {
			w.gaps = append(w.gaps, Gap{Page: page, From: from, To: to})
			continue
		}
		child := binary.BigEndian.Uint32(data[at:])
		key, n := varint(data[at+4 : w.image.usable])
		upTo := int64(key) //nolint:gosec // the sign is meant
		if n == 0 || upTo < from || upTo > to {
			upTo = to // the key is damaged; its rows may be anywhere
		}
		if err := w.rows(child, from, upTo, depth+1); err != nil {
			return err
		}
		if upTo != to {
			from = upTo
		}
	}
	return w.rows(last, from, to, depth+1)
}

// index reads the keys of a page, and those of the pages that it leads to.
func (w *walk) index(page uint32, kind byte, data []byte, cells []int, depth int) error {
	anywhere := Gap{Page: page, From: math.MinInt64, To: math.MaxInt64}
	for _, at := range cells {
		if kind == interiorIndex && at >= 0 && at+5 <= w.image.usable {
			if err := w.rows(binary.BigEndian.Uint32(data[at:]), math.MinInt64, math.MaxInt64, depth+1); err != nil {
				return err
			}
		}
		row, err := w.image.cell(kind, data, at, w.used)
		if err != nil {
			anywhere.Cells++
			continue
		}
		if err := w.each(row); err != nil {
			return err
		}
	}
	if anywhere.Cells > 0 {
		w.gaps = append(w.gaps, anywhere)
	}
	if kind != interiorIndex {
		return nil
	}
	head := 0
	if page == 1 {
		head = 100
	}
	return w.rows(binary.BigEndian.Uint32(data[head+8:]), math.MinInt64, math.MaxInt64, depth+1)
}
