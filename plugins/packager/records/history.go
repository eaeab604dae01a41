package records

import (
	"cmp"
	"slices"
	"time"
)

// Bounds of the history.
const (
	maxEndedEach = 32  // operations of one package
	maxHistories = 256 // packages, also those that have gone
)

// Ended is an operation that has ended.
type Ended struct {
	Package string  `json:"package"`
	Request Request `json:"request"`
	// From and To are the versions before and after, empty for none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Result is "done", "failed" or "canceled".
	Result string    `json:"result"`
	Reason string    `json:"reason,omitempty"`
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended"`
}

// NoteEnded adds an operation to the history, which is bounded: the oldest go.
func (r *Records) NoteEnded(e Ended) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	list, found, err := r.history.Get(e.Package)
	if err != nil {
		list = nil // a damaged one begins anew
	}
	list = append(list, e)
	if extra := len(list) - maxEndedEach; extra > 0 {
		list = slices.Delete(list, 0, extra)
	}
	if err := r.history.Put(e.Package, list); err != nil || found {
		return err
	}
	return r.dropOldestHistories()
}

// dropOldestHistories removes the histories of packages that have gone, oldest first, until
// there are no more than maxHistories.
func (r *Records) dropOldestHistories() error {
	all, err := r.history.All()
	if err != nil || len(all) <= maxHistories {
		return err
	}
	var gone []string
	for name := range all {
		if _, exists := r.Get(name); !exists && len(all[name]) > 0 {
			gone = append(gone, name)
		}
	}
	last := func(name string) time.Time { return all[name][len(all[name])-1].Ended }
	slices.SortFunc(gone, func(a, b string) int { return cmp.Or(last(a).Compare(last(b)), cmp.Compare(a, b)) })
	for _, name := range gone[:min(len(gone), len(all)-maxHistories)] {
		if err := r.history.Delete(name); err != nil {
			return err
		}
	}
	return nil
}

// History returns the ended operations of a package, or of all with an empty name, oldest
// first.
func (r *Records) History(name string) (all []Ended, err error) {
	if name != "" {
		all, _, err = r.history.Get(name)
		return all, err
	}
	byName, err := r.history.All()
	for _, list := range byName {
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(a, b Ended) int { return cmp.Or(a.Ended.Compare(b.Ended), cmp.Compare(a.Package, b.Package)) })
	return all, err
}
