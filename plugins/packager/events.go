package packager

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// The events of the Packager.
const (
	stateEvent    = "statechange"        // a package has another state, phase or flag
	progressEvent = "progress"           // an operation has come further
	endEvent      = "operationend"       // an operation has ended
	syncEvent     = "synchronizationend" // the catalogue was read again
)

// progressEvery is how often the progress of one operation is told at most.
const progressEvery = 250 * time.Millisecond

// stateChange is the parameters of the event statechange.
type stateChange struct {
	summary

	Operation string `json:"operation,omitempty"`
	Verb      string `json:"verb,omitempty"`
}

// recordChanged tells of a change that is on disk. A package that has gone has the state
// "ABSENT".
func (p *Packager) recordChanged(r records.Record) {
	change := stateChange{summary: summaryOf(r)}
	if r.State == records.Absent {
		change.State, change.Status = "ABSENT", "ABSENT"
	}
	if r.Operation != nil {
		change.Operation, change.Verb = r.Operation.Request.ID, string(r.Operation.Request.Verb)
	} else {
		p.progress.forget(r.Name)
	}
	p.notify(stateEvent, change)
	p.flowsChanged(r.Name)
}

// operationEnded tells of the end of an operation.
func (p *Packager) operationEnded(e records.Ended) {
	p.ended.count(e)
	p.wishEnded(e)
	p.notify(endEvent, historyLineOf(e))
}

// endCounts counts ended operations by verb and result.
type endCounts struct {
	mu  sync.Mutex
	all map[endKey]int64
}

type endKey struct {
	verb   records.Verb
	result string
}

func (c *endCounts) count(e records.Ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[endKey]int64)
	}
	c.all[endKey{e.Request.Verb, e.Result}]++
}

// byResult returns the counts.
func (c *endCounts) byResult() map[endKey]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.all)
}

// sortedKeys returns the keys of counts, by verb and result.
func sortedKeys(counts map[endKey]int64) []endKey {
	return slices.SortedFunc(maps.Keys(counts), func(a, b endKey) int {
		return cmp.Or(cmp.Compare(a.verb, b.verb), cmp.Compare(a.result, b.result))
	})
}

// notify sends an event to its subscribers, once the built-in exists.
func (p *Packager) notify(event string, params any) {
	if p.sink != nil {
		p.sink.Notify(shell.Notification{Event: event, Params: jsonrpc.MustMarshal(params)})
	}
}

// flowsChanged says that the package may have become ready, or not ready.
func (p *Packager) flowsChanged(name string) {
	if p.options.Flows.Changed != nil {
		p.options.Flows.Changed(name)
	}
}

// progressChange is the parameters of the event progress.
type progressChange struct {
	Package   string `json:"package"`
	Operation string `json:"operation"`
	Done      int64  `json:"done"`
	Total     int64  `json:"total"`
}

// progressEvents holds how far operations are, by package.
type progressEvents struct {
	mu  sync.Mutex
	now map[string]progress
}

type progress struct {
	done, total int64
	told        time.Time
}

// tellProgress notes how many bytes the operation has done, and tells it now and then.
func (o *operation) tellProgress(done, total int64) {
	e := &o.p.progress
	e.mu.Lock()
	if e.now == nil {
		e.now = make(map[string]progress)
	}
	last, now := e.now[o.name], o.p.options.Clock()
	tell := now.Sub(last.told) >= progressEvery || total > 0 && done == total
	if tell {
		last.told = now
	}
	e.now[o.name] = progress{done, total, last.told}
	e.mu.Unlock()
	if tell {
		o.p.notify(progressEvent, progressChange{o.name, o.request.ID, done, total})
	}
}

// of returns how far the operation on a package is, in bytes.
func (e *progressEvents) of(name string) (done, total int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now[name].done, e.now[name].total
}

func (e *progressEvents) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.now, name)
}
