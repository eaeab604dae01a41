// Package outbox delivers HTTP requests that must not get lost: they stand in tables of a store
// until their target has answered, and are tried again while it does not. Each belongs to a
// line. A line is delivered in order and one request at a time; lines delay each other only
// where they have the same target. The package knows HTTP, and nothing of what a request is
// about.
//
// A delivery is made at least once: a host that ends between an answer and the note of it makes
// the delivery again, with the same id.
package outbox

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// Options are what Open needs to know.
type Options struct {
	Targets *targets.Policy // where deliveries may go whose kind is not exempt
	// Trouble is told of errors of the store, after which Run tries again. It may be nil.
	Trouble func(error)

	// transport replaces the network, for tests.
	transport http.RoundTripper
}

// Kind says what is special about the deliveries of one kind. The zero Kind has nothing special.
type Kind struct {
	// Exempt kinds go wherever their URLs lead: the operator has configured these.
	Exempt bool
	// Find returns the URL to which the delivery is sent, found at each try with the client; nil
	// for the delivery's own. Its error is a failed try.
	Find func(ctx context.Context, client *http.Client, d Delivery) (url string, err error)
	// Gone is told, in the transaction that drops the line, that its target has answered 410;
	// nil if that means nothing.
	Gone func(tx *store.Tx, line string) error
}

// Outbox holds all deliveries of one store. Any goroutine may use it.
type Outbox struct {
	store   *store.Store
	options Options
	now     func() time.Time

	lastSeq atomic.Int64  // of the delivery put in last; only a transaction raises it
	wake    chan struct{} // holds one if there is something new for Run

	mu       sync.Mutex // guards the fields below
	kinds    map[string]Kind
	hurried  map[int64]bool   // numbers of the lines that are to be tried at once
	failures map[string]int64 // failed tries by host
}

// Open returns the outbox in s, with all that waits in it. s must stay open as long as the outbox
// is used.
func Open(s *store.Store, o Options) (*Outbox, error) {
	if o.Targets == nil {
		o.Targets = targets.New(targets.Options{})
	}
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
	box := &Outbox{
		store: s, options: o, now: time.Now, wake: make(chan struct{}, 1),
		kinds: make(map[string]Kind), hurried: make(map[int64]bool), failures: make(map[string]int64),
	}
	if err := s.Define("outbox", schema...); err != nil {
		return nil, fmt.Errorf("cannot open the outbox: %w", err)
	}
	if s.Rebuilt() {
		if err := s.Update(context.Background(), nameLostLines); err != nil {
			return nil, fmt.Errorf("cannot find the lines of the outbox again: %w", err)
		}
	}
	var last int64
	err := s.View(context.Background(), func(tx *store.Tx) error { return tx.QueryRow(selectLastSeq).Scan(&last) })
	if err != nil {
		return nil, fmt.Errorf("cannot read the outbox: %w", err)
	}
	box.lastSeq.Store(last)
	return box, nil
}

// Handle says what is special about the deliveries of that kind, from now on.
func (o *Outbox) Handle(kind string, k Kind) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kinds[kind] = k
}

// kind returns what is special about the deliveries of that kind.
func (o *Outbox) kind(name string) Kind {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.kinds[name]
}

// CheckTarget returns why no webhook can go to the URL, as far as that can be known before its
// name is resolved.
func (o *Outbox) CheckTarget(url string) error { return o.options.Targets.Check(url) }

// Wake has Run look for what is new. Callers of PutIn, DropLine and SetSecret call it after their
// transaction.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default: // Run has not yet looked for what came before either
	}
}
