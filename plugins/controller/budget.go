package controller

import "sync/atomic"

// budget is an amount of memory in bytes that several users share. What is taken from a
// budget is taken from its parent too, if it has one.
type budget struct {
	left   atomic.Int64
	parent *budget
}

// newBudget returns a budget of that many bytes.
func newBudget(bytes int64, parent *budget) *budget {
	b := &budget{parent: parent}
	b.left.Store(bytes)
	return b
}

// has reports whether that many bytes are left, also of the parent.
func (b *budget) has(bytes int) bool {
	return b == nil || int64(bytes) <= b.left.Load() && b.parent.has(bytes)
}

// take takes that many bytes, whether they are left or not; fewer than 0 are given back.
func (b *budget) take(bytes int) {
	for ; b != nil; b = b.parent {
		b.left.Add(int64(-bytes))
	}
}

// takeIfLeft takes that many bytes if they are left, also of the parent.
func (b *budget) takeIfLeft(bytes int) (taken bool) {
	b.take(bytes)
	for one := b; one != nil; one = one.parent {
		if one.left.Load() < 0 {
			b.take(-bytes)
			return false
		}
	}
	return true
}
