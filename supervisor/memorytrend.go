package supervisor

import "time"

const (
	// trendSpan is over how long the fall of the available memory is measured, so that a
	// short burst does not count as a trend.
	trendSpan = 500 * time.Millisecond
	// shortestLead and longestLead bound how long before the memory is used up sleeps must
	// begin.
	shortestLead, longestLead = 750 * time.Millisecond, 10 * time.Second
)

// memoryTrend is how much memory was available at the last looks. The zero value is ready
// to use.
type memoryTrend struct {
	looks []memoryLook  // of the last trendSpan and the one before, oldest first
	lead  time.Duration // how long before the memory is used up sleeps must begin; 0 means shortestLead
}

// memoryLook is how much memory was available at a moment.
type memoryLook struct {
	at        time.Time
	available int64
}

// add adds a look.
func (t *memoryTrend) add(now time.Time, available int64) {
	for len(t.looks) > 1 && !t.looks[1].at.After(now.Add(-trendSpan)) {
		t.looks = t.looks[1:]
	}
	t.looks = append(t.looks, memoryLook{now, available})
}

// restart forgets all looks: what was freed since says nothing about what is taken.
func (t *memoryTrend) restart() { t.looks = nil }

// noteSleepTook notes how long sleeps took: they must begin that much earlier, and half as
// much again.
func (t *memoryTrend) noteSleepTook(took time.Duration) {
	t.lead = min(max(shortestLead, took+took/2), longestLead)
}

// expectedLoss returns how much less memory will be available by the time that sleeps which
// begin now can free some, if it falls as it did in the last trendSpan; 0 if it does not fall.
func (t *memoryTrend) expectedLoss() int64 {
	if len(t.looks) < 2 {
		return 0
	}
	first, last := t.looks[0], t.looks[len(t.looks)-1]
	span := max(trendSpan, last.at.Sub(first.at))
	return max(0, int64(float64(first.available-last.available)*max(shortestLead, t.lead).Seconds()/span.Seconds()))
}
