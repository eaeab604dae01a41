package supervisor

import "time"

// shortestLead and longestLead bound how long before the memory is used up sleeps must
// begin.
const shortestLead, longestLead = 750 * time.Millisecond, 10 * time.Second

// memoryTrend is how much memory was available at the last looks. The zero value is ready
// to use.
type memoryTrend struct {
	looks []memoryLook  // of the last span and the one before, oldest first
	took  time.Duration // how long the last sleeps took, 0 if that is not known
}

// memoryLook is how much memory was available at a moment.
type memoryLook struct {
	at        time.Time
	available int64
}

// lead returns how long before the memory is used up sleeps must begin: half as long again
// as the last ones took.
func (t *memoryTrend) lead() time.Duration {
	return min(max(shortestLead, t.took+t.took/2), longestLead)
}

// span returns over how long the fall is measured: two thirds of the lead, so that a burst
// does not count as a trend.
func (t *memoryTrend) span() time.Duration { return t.lead() * 2 / 3 }

// add adds a look.
func (t *memoryTrend) add(now time.Time, available int64) {
	for len(t.looks) > 1 && !t.looks[1].at.After(now.Add(-t.span())) {
		t.looks = t.looks[1:]
	}
	t.looks = append(t.looks, memoryLook{now, available})
}

// restart forgets all looks, since sleeps that took so long have freed memory: what was
// taken before says nothing more.
func (t *memoryTrend) restart(took time.Duration) { t.looks, t.took = nil, took }

// expectedLoss returns how much less memory will be available by the time that sleeps which
// begin now can free some, if it falls as it did in the last span; 0 if it does not fall.
func (t *memoryTrend) expectedLoss() int64 {
	if len(t.looks) < 2 {
		return 0
	}
	first, last := t.looks[0], t.looks[len(t.looks)-1]
	span := max(t.span(), last.at.Sub(first.at))
	return max(0, int64(float64(first.available-last.available)*t.lead().Seconds()/span.Seconds()))
}
