package outbox

import (
	"container/heap"
	"time"
)

// pace is what is known of how quick a line's target answers.
type pace int

const (
	unknown pace = iota
	quick        // it has answered the last try within slowAfter
	slow         // it has not
	paces
)

// line is a line that has deliveries, as a dispatcher has it.
type line struct {
	number int64
	target *target // of its first delivery
	pace   pace
	// hasMore reports whether deliveries were put in since its last try began.
	hasMore bool
	// pacedUntil is when a delivery with Every may be made again.
	pacedUntil time.Time

	due   time.Time // while it waits
	paced bool      // whether it waits for pacedUntil alone
	place int       // among those that wait; -1 if it does not
}

// lines are lines that wait, as a heap: the first is due first.
type lines []*line

func (l lines) Len() int           { return len(l) }
func (l lines) Less(i, j int) bool { return l[i].due.Before(l[j].due) }
func (l lines) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].place, l[j].place = i, j
}

// Push adds a line at the end.
func (l *lines) Push(one any) {
	added, _ := one.(*line)
	added.place = len(*l)
	*l = append(*l, added)
}

// Pop takes the line at the end.
func (l *lines) Pop() any {
	last := len(*l) - 1
	one := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	one.place = -1
	return one
}

// add has the line wait until due.
func (l *lines) add(one *line, due time.Time, paced bool) {
	one.due, one.paced = due, paced
	heap.Push(l, one)
}

// take returns the next line that is due now, or nil.
func (l *lines) take(now time.Time) *line {
	if len(*l) == 0 || (*l)[0].due.After(now) {
		return nil
	}
	one, _ := heap.Pop(l).(*line)
	return one
}

// remove has a line that waits wait no longer.
func (l *lines) remove(one *line) { heap.Remove(l, one.place) }
