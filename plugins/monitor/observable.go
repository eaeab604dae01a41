package monitor

import (
	"slices"
	"sync"
	"time"

	"dormouse/internal/procfs"
)

// observable is an instance that is watched, as far as it is known.
type observable struct {
	settings // but for restart, which mu guards

	ending sync.Mutex // held while it is being ended

	mu       sync.Mutex
	restarts []time.Time // those in the present window, oldest first
	unwell   bool        // it failed the last check
	count    int64
	resident, allocated,
	shared, charged, processes series
}

func newObservable(s settings) *observable { return &observable{settings: s} }

// series is what many measurements come to.
type series struct{ min, max, sum, last int64 }

func (s *series) add(value int64, first bool) {
	if first {
		s.min, s.max = value, value
	}
	s.min, s.max = min(s.min, value), max(s.max, value)
	s.sum += value
	s.last = value
}

// add counts one measurement; charged is what the cgroup takes.
func (o *observable) add(u procfs.Usage, charged int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.count == 0
	o.count++
	o.resident.add(u.Resident, first)
	o.allocated.add(u.Virtual, first)
	o.shared.add(u.Shared, first)
	o.charged.add(charged, first)
	o.processes.add(int64(u.Processes), first)
}

func (o *observable) setHealth(well bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unwell = !well
}

// allow counts a restart, if there may be one now. Once there may not, the
// count begins anew with whoever starts the instance after all. No limits mean
// that it is not to be restarted.
func (o *observable) allow(now time.Time) (l *limits, allowed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l = o.restart
	if l == nil || l.Limit == 0 {
		return l, l != nil
	}
	if l.Window > 0 {
		begin := now.Add(-time.Duration(l.Window) * time.Second)
		o.restarts = slices.DeleteFunc(o.restarts, func(at time.Time) bool { return !at.After(begin) })
	}
	if int64(len(o.restarts)) >= l.Limit {
		o.restarts = nil
		return l, false
	}
	o.restarts = append(o.restarts, now)
	return l, true
}

func (o *observable) setLimits(l *limits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.restart = l
}

// restartLimits is an empty object where there are none.
func (o *observable) restartLimits() any {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.restart == nil {
		return struct{}{}
	}
	return o.restart
}

// statistics are the measurements as clients read them, in bytes.
type statistics struct {
	Resident    summary `json:"resident"`
	Allocated   summary `json:"allocated"`
	Shared      summary `json:"shared"`
	Cgroup      summary `json:"cgroup,omitzero"` // not Thunder's
	Process     summary `json:"process"`
	Operational bool    `json:"operational"`
	Count       int64   `json:"count"`
}

type summary struct {
	Min     int64 `json:"min"`
	Max     int64 `json:"max"`
	Average int64 `json:"average"`
	Last    int64 `json:"last"`
}

// statistics returns what was measured so far, and forgets it if so told.
func (o *observable) statistics(forget bool) statistics {
	o.mu.Lock()
	defer o.mu.Unlock()
	summarize := func(s series) summary { return summary{s.min, s.max, s.sum / max(o.count, 1), s.last} }
	s := statistics{
		Resident:    summarize(o.resident),
		Allocated:   summarize(o.allocated),
		Shared:      summarize(o.shared),
		Cgroup:      summarize(o.charged),
		Process:     summarize(o.processes),
		Operational: !o.unwell,
		Count:       o.count,
	}
	if forget {
		o.count = 0
		o.resident, o.allocated, o.shared, o.charged, o.processes = series{}, series{}, series{}, series{}, series{}
	}
	return s
}
