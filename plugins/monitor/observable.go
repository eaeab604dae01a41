package monitor

import (
	"slices"
	"sync"
	"time"

	"dormouse/internal/procfs"
)

// observable is an instance that the monitor watches, with its measurements.
type observable struct {
	settings // mu guards restart

	ending sync.Mutex // held while the monitor ends the instance

	mu       sync.Mutex
	restarts []time.Time // times of the restarts in the present window, oldest first
	unwell   bool        // the last health check failed
	count    int64
	resident, allocated,
	shared, charged, processes series
}

// series is a summary of many values, all 0 before the first one.
type series struct{ min, max, sum, last int64 }

// addValue adds a value to the summary. isFirst is true for the first value of the series.
func (s *series) addValue(value int64, isFirst bool) {
	if isFirst {
		s.min, s.max = value, value
	}
	s.min, s.max = min(s.min, value), max(s.max, value)
	s.sum += value
	s.last = value
}

// addMeasurement adds one measurement. chargedBytes is the memory that the kernel charges to
// the plugin's cgroup.
func (o *observable) addMeasurement(u procfs.MemoryUsage, chargedBytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first := o.count == 0
	o.count++
	o.resident.addValue(u.Resident, first)
	o.allocated.addValue(u.Virtual, first)
	o.shared.addValue(u.Shared, first)
	o.charged.addValue(chargedBytes, first)
	o.processes.addValue(int64(u.Processes), first)
}

// setHealth notes whether the last health check succeeded.
func (o *observable) setHealth(isWell bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unwell = !isWell
}

// countRestartOrResetCount reports whether the limits allow a restart now, and counts an
// allowed one. A refusal resets the count, so that counting begins anew when a client
// starts the instance. Without limits (l is nil) the monitor does not restart the
// instance.
func (o *observable) countRestartOrResetCount(now time.Time) (l *limits, allowed bool) {
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

// setRestartLimits replaces the limits, and keeps the count of the restarts so far.
func (o *observable) setRestartLimits(l *limits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.restart = l
}

// restartLimitsForClients returns the limits for clients, an empty object if there are none.
func (o *observable) restartLimitsForClients() any {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.restart == nil {
		return struct{}{}
	}
	return o.restart
}

// statistics is the measurements as clients get them, in bytes.
type statistics struct {
	Resident    summary `json:"resident"`
	Allocated   summary `json:"allocated"`
	Shared      summary `json:"shared"`
	Cgroup      summary `json:"cgroup,omitzero"` // Thunder has none
	Process     summary `json:"process"`
	Operational bool    `json:"operational"`
	Count       int64   `json:"count"`
}

// summary is a series as clients get it.
type summary struct {
	Min     int64 `json:"min"`
	Max     int64 `json:"max"`
	Average int64 `json:"average"`
	Last    int64 `json:"last"`
}

// statistics returns the measurements, and then resets them if reset is true. Operational is
// the outcome of the last health check, which is not reset.
func (o *observable) statistics(reset bool) statistics {
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
	if reset {
		o.count = 0
		o.resident, o.allocated, o.shared, o.charged, o.processes = series{}, series{}, series{}, series{}, series{}
	}
	return s
}
