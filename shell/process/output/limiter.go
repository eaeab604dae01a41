package output

import (
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/bytesize"
)

const (
	// burst is for how many seconds' worth of its rate an instance that was silent may
	// write at once.
	burst = 10
	// envelope is how many bytes each line counts besides its own, for what the log adds.
	envelope = 128
	// tellPause is how long after the first dropped line the log says how many there were.
	tellPause = 2 * time.Second
)

// Limiter bounds how much of an instance's output is logged. The output is still read, so
// that the plugin never waits. A nil Limiter bounds nothing.
type Limiter struct {
	rate func() int64 // bytes per second, 0 for any number
	log  zerolog.Logger

	mu      sync.Mutex // guards the fields below
	room    float64    // bytes that may be logged now
	asOf    time.Time  // of room, zero before the first line
	dropped int64      // lines since NewLimiter
	untold  int64      // of these, the lines that the log has not named
}

// NewLimiter returns a Limiter for the number of bytes per second that rate returns, 0 for
// any number. It logs to log how many lines were dropped.
func NewLimiter(rate func() int64, log zerolog.Logger) *Limiter {
	return &Limiter{rate: rate, log: log}
}

// Dropped returns how many lines were dropped so far.
func (l *Limiter) Dropped() int64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// hasRoomOrDrop reports whether a line may be logged now. If not, the line counts as dropped.
func (l *Limiter) hasRoomOrDrop() bool {
	if l == nil {
		return true
	}
	rate := float64(l.rate())
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch {
	case rate == 0:
		return true
	case l.asOf.IsZero():
		l.room = burst * rate
	default:
		l.room = min(burst*rate, l.room+rate*now.Sub(l.asOf).Seconds())
	}
	l.asOf = now
	if l.room > 0 {
		return true
	}
	if l.untold == 0 {
		time.AfterFunc(tellPause, l.tellDropped)
	}
	l.dropped++
	l.untold++
	return false
}

// charge counts a line of n bytes that was logged.
func (l *Limiter) charge(n int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room -= float64(n + envelope)
}

// tellDropped logs how many lines were dropped since it did so last.
func (l *Limiter) tellDropped() {
	l.mu.Lock()
	n := l.untold
	l.untold = 0
	l.mu.Unlock()
	l.log.Warn().Int64("lines", n).Str("log-rate", bytesize.Format(l.rate())+"/s").Msg("dropped lines of the plugin, which writes more than its log-rate")
}
