package access

import (
	"testing"
	"time"
)

func TestLimiter(t *testing.T) {
	var l limiter
	start := time.Unix(1000, 0)
	passed := 0
	for range linesPerSecond + 30 {
		if _, may := l.pass(start.Add(10 * time.Millisecond)); may {
			passed++
		}
	}
	if passed != linesPerSecond {
		t.Errorf("%d lines passed in a second", passed)
	}
	if suppressed, may := l.pass(start.Add(2 * time.Second)); !may || suppressed != 30 {
		t.Errorf("the next line: %v, after %d suppressed", may, suppressed)
	}
	if suppressed, may := l.pass(start.Add(2 * time.Second)); !may || suppressed != 0 {
		t.Errorf("the line after it: %v, after %d suppressed", may, suppressed)
	}
}
