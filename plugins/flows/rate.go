package flows

import (
	"sync"
	"time"
)

// rateWindow is over how many seconds a rate is taken.
const rateWindow = 60

// rate counts events, in all and over the last minute. The zero value is ready.
type rate struct {
	mu      sync.Mutex
	total   int64
	newest  int64 // second of the newest slot, since 1970
	seconds [rateWindow]int64
}

// add counts n events that happen now.
func (r *rate) add(n int64, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now.Unix())
	r.seconds[now.Unix()%rateWindow] += n
	r.total += n
}

// figures returns the count of all events, and how many there were each second on average
// over the last minute.
func (r *rate) figures(now time.Time) (total int64, perSecond float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance(now.Unix())
	var sum int64
	for _, n := range r.seconds {
		sum += n
	}
	return r.total, float64(sum) / rateWindow
}

// advance clears the slots between the newest one and the given second. The caller holds mu.
func (r *rate) advance(second int64) {
	if second-r.newest >= rateWindow {
		clear(r.seconds[:])
		r.newest = second
	}
	for ; r.newest < second; r.newest++ {
		r.seconds[(r.newest+1)%rateWindow] = 0
	}
}
