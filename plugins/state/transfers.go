package state

import (
	"fmt"
	"sync"
)

// Limits of blobs that are under way at once, in either direction: each holds an open file.
const (
	maxTransfers        = 512
	maxTransfersOfOwner = 32
)

// transfers are the blobs under way.
type transfers struct {
	mu       sync.Mutex // guards the fields below
	all      int
	byOwner  map[string]int
	arriving map[string]int64 // bytes of blobs that arrive, by owner
	bytes    int64            // of all of them
}

func newTransfers() transfers {
	return transfers{byOwner: make(map[string]int), arriving: make(map[string]int64)}
}

// begin notes that one more blob of the owner is under way, until end is called. The error is an
// ErrBusy if there are too many.
func (t *transfers) begin(owner string) (end func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byOwner[owner] >= maxTransfersOfOwner || t.all >= maxTransfers {
		return nil, fmt.Errorf("%w: %d of %s, and %d in all; end one first", ErrBusy, t.byOwner[owner], owner, t.all)
	}
	t.byOwner[owner]++
	t.all++
	return sync.OnceFunc(func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all--
		if t.byOwner[owner]--; t.byOwner[owner] == 0 {
			delete(t.byOwner, owner)
		}
	}), nil
}

// arrive notes n bytes more of blobs that arrive, or with a negative n that they have arrived or
// will not. It returns how many bytes there are then, of the owner and in all.
func (t *transfers) arrive(owner string, n int64) (of, all int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arriving[owner] += n
	t.bytes += n
	of = t.arriving[owner]
	if of == 0 {
		delete(t.arriving, owner)
	}
	return of, t.bytes
}

// underWay returns how many blobs are under way.
func (t *transfers) underWay() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}
