package output

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// lockedText is a bytes.Buffer that several goroutines may use.
type lockedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lockedText) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// An instance that floods the log gets its burst, and then its rate; the log says how many
// lines were dropped. All are in the tail and the last words.
func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 10_000
		var text lockedText
		log := zerolog.New(&text)
		limit := NewLimiter(func() int64 { return rate }, log)
		words := &lastWords{}
		write := func(lines int) (logged int) {
			text.Reset()
			for i := range lines {
				words.addLine(logLine(log, limit, fmt.Sprintf("%072d", i), false)) // 200 bytes with the envelope
			}
			return strings.Count(text.String(), "\n")
		}
		if n := write(10_000); n != burst*rate/200 {
			t.Errorf("at once %d lines were logged, want %d", n, burst*rate/200)
		}
		if n := limit.Dropped(); n != 9500 {
			t.Errorf("%d lines were dropped, want 9500", n)
		}
		if last := words.lines[len(words.lines)-1].text; last != fmt.Sprintf("%072d", 9999) {
			t.Errorf("the last words are %q", last)
		}
		text.Reset()
		<-time.After(tellPause)
		synctest.Wait()
		if want := `"lines":9500,"log-rate":"9.8 KiB/s"`; !strings.Contains(text.String(), want) {
			t.Errorf("the log has %q, want %q", text.String(), want)
		}
		<-time.After(time.Second)
		if n, want := write(1000), 3*rate/200; n != want {
			t.Errorf("after three seconds %d lines were logged, want %d", n, want)
		}
		<-time.After(tellPause)
		synctest.Wait()
	})
}

// Lines that the log leaves out for their level don't count, and without a rate none does.
func TestLimiterLetsThrough(t *testing.T) {
	var text bytes.Buffer
	log := zerolog.New(&text).Level(zerolog.InfoLevel)
	limit := NewLimiter(func() int64 { return 1000 }, log)
	for range 10_000 {
		logLine(log, limit, "[DEBUG] text", false)
	}
	logLine(log, limit, "[WARN] text", false)
	free := NewLimiter(func() int64 { return 0 }, log)
	for range 10_000 {
		logLine(log, free, "text", false)
	}
	if n := strings.Count(text.String(), "\n"); n != 10_001 || limit.Dropped()+free.Dropped() != 0 {
		t.Errorf("%d lines were logged, %d and %d dropped", n, limit.Dropped(), free.Dropped())
	}
}
