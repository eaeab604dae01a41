package access

import (
	"sync"
	"time"
)

// limiter bounds how many lines a second are logged at the wish of clients. The zero value
// is ready.
type limiter struct {
	mu         sync.Mutex
	second     time.Time // when the present second began
	passed     int       // in the present second
	suppressed int       // since the last line that passed
}

// linesPerSecond is how many refusals a second are logged, of all clients together.
const linesPerSecond = 20

// pass reports whether a line may be logged at the time now. If it may, suppressed is how
// many lines were not logged since the last one that was.
func (l *limiter) pass(now time.Time) (suppressed int, may bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.passed = now, 0
	}
	if l.passed == linesPerSecond {
		l.suppressed++
		return 0, false
	}
	l.passed++
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
