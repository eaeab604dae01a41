package images

import "slices"

// Extent is a range of addresses of a process whose contents are still in a page file
// of the image.
type Extent struct {
	Start, End uint64
	Offset     int64 // of the contents in the page file
	// Wiped says that children do not inherit the memory, see MADV_WIPEONFORK in
	// madvise(2).
	Wiped bool
	// Moved says that the process has moved the memory to this address, see mremap(2).
	Moved bool
}

// TailFrom returns the part of e that begins at the address.
func (e Extent) TailFrom(address uint64) Extent {
	e.Offset += int64(address - e.Start)
	e.Start = address
	return e
}

// Extents are ordered by address and do not overlap.
type Extents []Extent

// Bytes returns the total size of the extents in bytes.
func (x Extents) Bytes() (total int64) {
	for _, e := range x {
		total += int64(e.End - e.Start)
	}
	return total
}

// IndexEndingAfter returns the index of the first extent that ends after the address, or
// the length of x.
func (x Extents) IndexEndingAfter(address uint64) int {
	at, _ := slices.BinarySearchFunc(x, address, func(e Extent, address uint64) int {
		if e.End <= address {
			return -1
		}
		return 1
	})
	return at
}

// FindContaining returns the extent that contains the address, and whether there is one.
func (x Extents) FindContaining(address uint64) (Extent, bool) {
	at := x.IndexEndingAfter(address)
	if at == len(x) || x[at].Start > address {
		return Extent{}, false
	}
	return x[at], true
}

// Remove removes the addresses from start to end from x, and returns the removed parts.
func (x *Extents) Remove(start, end uint64) (removed Extents) {
	first := x.IndexEndingAfter(start)
	last := first
	var around Extents
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
		removed = append(removed, e)
	}
	*x = slices.Replace(*x, first, last, around...)
	return removed
}

// insertReplacing adds more to x, in order, and removes the parts of x that more overlaps.
func (x *Extents) insertReplacing(more Extents) {
	for _, e := range more {
		x.Remove(e.Start, e.End)
		*x = slices.Insert(*x, x.IndexEndingAfter(e.Start), e)
	}
}

// Move moves the part of x from start to end to the address to, and marks it as Moved. It
// replaces the part of x at the new place.
func (x *Extents) Move(start, end, to uint64) {
	moved := x.Remove(start, end)
	x.Remove(to, to+(end-start))
	for i := range moved {
		moved[i].Start += to - start
		moved[i].End += to - start
		moved[i].Moved = true
	}
	x.insertReplacing(moved)
}

// HasUnmoved reports whether x has anything from start to end that was never moved.
func (x Extents) HasUnmoved(start, end uint64) bool {
	for _, e := range x[x.IndexEndingAfter(start):] {
		if e.Start >= end {
			break
		}
		if !e.Moved {
			return true
		}
	}
	return false
}

// RemoveUnmoved removes the part of x from start to end, which the process has unmapped, and
// returns what it removed. Moved extents stay: the kernel reports an unmapping late, so the
// process may have moved them there since. (A moved extent that was unmapped does no harm.)
func (x *Extents) RemoveUnmoved(start, end uint64) (removed Extents) {
	removed = x.Remove(start, end)
	var movedSince Extents
	for _, e := range removed {
		if e.Moved {
			movedSince = append(movedSince, e)
		}
	}
	x.insertReplacing(movedSince)
	return slices.DeleteFunc(removed, func(e Extent) bool { return e.Moved })
}

// InheritedByChild returns the extents that a child forked now lacks as well: all that
// are not Wiped.
func (x Extents) InheritedByChild() Extents {
	return slices.DeleteFunc(slices.Clone(x), func(e Extent) bool { return e.Wiped })
}
