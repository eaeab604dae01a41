package images

import "slices"

// Extent is memory that is still to come: where it belongs and where in the page
// file it lies.
type Extent struct {
	Start, End uint64
	Offset     int64
	// wiped memory is not handed on to children.
	Wiped bool
	// moved memory was not always where it is.
	Moved bool
}

// from returns the part of e that begins at the address.
func (e Extent) TailFrom(address uint64) Extent {
	e.Offset += int64(address - e.Start)
	e.Start = address
	return e
}

// Extents are ordered by address and don't overlap.
type Extents []Extent

// bytes is how much is still to come.
func (x Extents) Bytes() (total int64) {
	for _, e := range x {
		total += int64(e.End - e.Start)
	}
	return total
}

// search returns the place of the first Extent that ends after the address.
func (x Extents) IndexAfter(address uint64) int {
	at, _ := slices.BinarySearchFunc(x, address, func(e Extent, address uint64) int {
		if e.End <= address {
			return -1
		}
		return 1
	})
	return at
}

// find returns the Extent that holds the address.
func (x Extents) Find(address uint64) (Extent, bool) {
	at := x.IndexAfter(address)
	if at == len(x) || x[at].Start > address {
		return Extent{}, false
	}
	return x[at], true
}

// cut takes everything from start to end out of x, and returns it.
func (x *Extents) Remove(start, end uint64) Extents {
	first := x.IndexAfter(start)
	last := first
	var inside, around Extents
	for ; last < len(*x) && (*x)[last].Start < end; last++ {
		e := (*x)[last]
		if e.Start < start {
			before := e
			before.End = start
			around = append(around, before)
			e = e.TailFrom(start)
		}
		if e.End > end {
			around = append(around, e.TailFrom(end))
			e.End = end
		}
		inside = append(inside, e)
	}
	*x = slices.Replace(*x, first, last, around...)
	return inside
}

// put adds more Extents in the place of what is there.
func (x *Extents) replaceWith(more Extents) {
	for _, e := range more {
		x.Remove(e.Start, e.End)
		*x = slices.Insert(*x, x.IndexAfter(e.Start), e)
	}
}

// move makes what lies from start to end lie at to.
func (x *Extents) Move(start, end, to uint64) {
	moved := x.Remove(start, end)
	x.Remove(to, to+(end-start))
	for i := range moved {
		moved[i].Start += to - start
		moved[i].End += to - start
		moved[i].Moved = true
	}
	x.replaceWith(moved)
}

// settled tells whether anything from start to end was always there.
func (x Extents) HasUnmoved(start, end uint64) bool {
	for _, e := range x[x.IndexAfter(start):] {
		if e.Start >= end {
			break
		}
		if !e.Moved {
			return true
		}
	}
	return false
}

// unmap takes out what lay from start to end when that was unmapped, and returns
// it. The kernel tells of it late: what was moved there may have come since, and
// stays; if it had not, there is no mapping that it could be put into.
func (x *Extents) Unmap(start, end uint64) Extents {
	gone := x.Remove(start, end)
	var since Extents
	for _, e := range gone {
		if e.Moved {
			since = append(since, e)
		}
	}
	x.replaceWith(since)
	return slices.DeleteFunc(gone, func(e Extent) bool { return e.Moved })
}

// forked is what a child of the process lacks.
func (x Extents) InheritedByChild() Extents {
	return slices.DeleteFunc(slices.Clone(x), func(e Extent) bool { return e.Wiped })
}
