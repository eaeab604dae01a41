package records

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"dormouse/internal/store"
)

// bucketName and historyName are the buckets of the store.
const (
	bucketName  = "packages"
	historyName = "package-history"
)

// Records holds the records of all packages.
type Records struct {
	kept    store.Bucket[Record]
	history store.Bucket[[]Ended]
	now     func() time.Time
	// changed is told of every change, in order, with an Absent record for one that has gone.
	changed func(Record)

	changing sync.Mutex // one change at a time, so that they are told in order
	mu       sync.Mutex // guards all
	all      map[string]Record
}

// Open reads the records. changed is called with each record that has changed, once the
// change is on disk; it must not change a record itself.
func Open(s *store.Store, changed func(Record)) (*Records, error) {
	r := &Records{
		kept: store.BucketOf[Record](s, bucketName), history: store.BucketOf[[]Ended](s, historyName),
		now: time.Now, changed: changed,
	}
	all, err := r.kept.All()
	if err != nil {
		return nil, fmt.Errorf("cannot read what packages there are: %w", err)
	}
	r.all = all
	return r, nil
}

// Get returns the record of a package. That of one that is not known is Absent.
func (r *Records) Get(name string) (record Record, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	record, found = r.all[name]
	record.Name = name
	return record.copied(), found
}

// All returns every record, sorted by name.
func (r *Records) All() []Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Record, 0, len(r.all))
	for _, record := range r.all {
		all = append(all, record.copied())
	}
	slices.SortFunc(all, func(a, b Record) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Step is the one function that changes a record: it looks the event up in the table, lets
// apply change a copy, stores that, and only then shows it. apply may refuse with an error;
// after any error nothing has changed. The error may be a *StateError.
func (r *Records) Step(name string, e Event, apply func(*Record) error) (Record, error) {
	r.changing.Lock()
	defer r.changing.Unlock()
	record, _ := r.Get(name)
	to, allowed := next(e, record.State)
	if !allowed {
		return record, &StateError{name, e, record.State}
	}
	after := record.copied()
	if apply != nil {
		if err := apply(&after); err != nil {
			return record, err
		}
	}
	after.State, after.Changed = to, r.now().UTC().Truncate(time.Millisecond)
	if err := r.store(after); err != nil {
		return record, err
	}
	r.show(after)
	return after.copied(), nil
}

// store writes a record, or deletes that of a package that has gone.
func (r *Records) store(record Record) error {
	if record.State == Absent {
		return r.kept.Delete(record.Name)
	}
	return r.kept.Put(record.Name, record)
}

// show makes a record visible and tells of it.
func (r *Records) show(record Record) {
	r.mu.Lock()
	if record.State == Absent {
		delete(r.all, record.Name)
	} else {
		r.all[record.Name] = record
	}
	r.mu.Unlock()
	if r.changed != nil {
		r.changed(record.copied())
	}
}

// Counts returns how many packages are in each state; those that are disabled count beside.
func (r *Records) Counts() (byState map[State]int, disabled int) {
	byState = make(map[State]int, len(States))
	for _, state := range States[1:] {
		byState[state] = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for record := range maps.Values(r.all) {
		byState[record.State]++
		if record.Disabled {
			disabled++
		}
	}
	return byState, disabled
}
