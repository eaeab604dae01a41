package logqueue

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a writer that stalls while it is shut.
type gate struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.text.Write(p)
}

func never(int64) { panic("nothing was dropped") }

// Lines are written in order, and before Write returns.
func TestWritesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		q := New(g, never)
		defer q.Close(time.Minute)
		want := ""
		for i := range 1000 {
			line := fmt.Sprintf("%d\n", i)
			want += line
			_, _ = q.Write([]byte(line))
			if g.text.String() != want {
				t.Fatalf("line %d is not written when Write returns", i)
			}
		}
	})
}

// While the writer stalls only the first line makes its caller wait; what does not fit is
// dropped, and told when the writer moves again.
func TestStall(t *testing.T) {
	g := &gate{}
	told := make(chan int64, 10)
	var q *Queue
	q = New(g, func(dropped int64) {
		_, _ = q.Write([]byte("told\n"))
		told <- dropped
	})
	g.mu.Lock()
	line := bytes.Repeat([]byte("x"), maxQueued/4)
	begun := time.Now()
	for range 10 {
		if n, err := q.Write(line); n != len(line) || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	}
	if waited := time.Since(begun); waited > 20*patience {
		t.Errorf("ten lines waited %s", waited)
	}
	if n := q.Dropped(); n != 6 {
		t.Errorf("%d lines were dropped, want 6", n)
	}
	g.mu.Unlock()
	if n := <-told; n != 6 {
		t.Errorf("it told of %d lines", n)
	}
	q.Close(time.Minute)
	if want := 4*len(line) + len("told\n"); g.text.Len() != want {
		t.Errorf("it wrote %d bytes, want %d", g.text.Len(), want)
	}
	if len(told) != 0 {
		t.Error("it told twice")
	}
}

// After a stall lines are written before Write returns again.
func TestWritesAtOnceAfterAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		text := ""
		q := New(writerFunc(func(p []byte) (int, error) { <-open; text += string(p); return len(p), nil }), never)
		defer q.Close(time.Minute)
		for range 10 {
			_, _ = q.Write([]byte("stalled\n"))
		}
		close(open)
		q.Flush(time.Minute)
		synctest.Wait()
		_, _ = q.Write([]byte("at once\n"))
		if want := strings.Repeat("stalled\n", 10) + "at once\n"; text != want {
			t.Errorf("it has %q, want %q", text, want)
		}
	})
}

// Close does not wait longer than its limit.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		block := make(chan struct{})
		q := New(writerFunc(func(p []byte) (int, error) { <-block; return len(p), nil }), never)
		begun := time.Now()
		_, _ = q.Write([]byte("a\n"))
		_, _ = q.Write([]byte("b\n"))
		q.Close(time.Second)
		if took := time.Since(begun); took != patience+time.Second {
			t.Errorf("it took %s", took)
		}
		close(block)
		<-q.ended
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
