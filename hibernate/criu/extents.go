package criu

import "slices"

// extent is memory that is still to come: where it belongs and where in the page
// file it lies.
type extent struct {
	start, end uint64
	offset     int64
	// wiped memory is not handed on to children.
	wiped bool
	// moved memory was not always where it is.
	moved bool
}

// from returns the part of e that begins at the address.
func (e extent) from(address uint64) extent {
	e.offset += int64(address - e.start)
	e.start = address
	return e
}

// extents are ordered by address and don't overlap.
type extents []extent

// bytes is how much is still to come.
func (x extents) bytes() (total int64) {
	for _, e := range x {
		total += int64(e.end - e.start)
	}
	return total
}

// search returns the place of the first extent that ends after the address.
func (x extents) search(address uint64) int {
	at, _ := slices.BinarySearchFunc(x, address, func(e extent, address uint64) int {
		if e.end <= address {
			return -1
		}
		return 1
	})
	return at
}

// find returns the extent that holds the address.
func (x extents) find(address uint64) (extent, bool) {
	at := x.search(address)
	if at == len(x) || x[at].start > address {
		return extent{}, false
	}
	return x[at], true
}

// cut takes everything from start to end out of x, and returns it.
func (x *extents) cut(start, end uint64) extents {
	first := x.search(start)
	last := first
	var inside, around extents
	for ; last < len(*x) && (*x)[last].start < end; last++ {
		e := (*x)[last]
		if e.start < start {
			before := e
			before.end = start
			around = append(around, before)
			e = e.from(start)
		}
		if e.end > end {
			around = append(around, e.from(end))
			e.end = end
		}
		inside = append(inside, e)
	}
	*x = slices.Replace(*x, first, last, around...)
	return inside
}

// put adds more extents in the place of what is there.
func (x *extents) put(more extents) {
	for _, e := range more {
		x.cut(e.start, e.end)
		*x = slices.Insert(*x, x.search(e.start), e)
	}
}

// move makes what lies from start to end lie at to.
func (x *extents) move(start, end, to uint64) {
	moved := x.cut(start, end)
	x.cut(to, to+(end-start))
	for i := range moved {
		moved[i].start += to - start
		moved[i].end += to - start
		moved[i].moved = true
	}
	x.put(moved)
}

// settled tells whether anything from start to end was always there.
func (x extents) settled(start, end uint64) bool {
	for _, e := range x[x.search(start):] {
		if e.start >= end {
			break
		}
		if !e.moved {
			return true
		}
	}
	return false
}

// unmap takes out what lay from start to end when that was unmapped, and returns
// it. The kernel tells of it late: what was moved there may have come since, and
// stays; if it had not, there is no mapping that it could be put into.
func (x *extents) unmap(start, end uint64) extents {
	gone := x.cut(start, end)
	var since extents
	for _, e := range gone {
		if e.moved {
			since = append(since, e)
		}
	}
	x.put(since)
	return slices.DeleteFunc(gone, func(e extent) bool { return e.moved })
}

// forked is what a child of the process lacks.
func (x extents) forked() extents {
	return slices.DeleteFunc(slices.Clone(x), func(e extent) bool { return e.wiped })
}
