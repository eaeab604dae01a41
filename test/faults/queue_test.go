package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"dormouse/internal/queue"
	"dormouse/internal/store"
)

// queueLedger notes what queues have acknowledged: ids that were published, and of these the
// ones that were passed on from "in" to "out".
type queueLedger struct {
	mu                sync.Mutex
	published, passed map[string]bool
}

func (l *queueLedger) note(in map[string]bool, id string) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in[id] = true
	return len(in)
}

// workUntilError publishes and passes on until all has failed, and calls cut after that many
// messages.
func workUntilError(ctx context.Context, q *queue.Queues, messages int, cut func()) *queueLedger {
	l := &queueLedger{published: make(map[string]bool), passed: make(map[string]bool)}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var all, producers sync.WaitGroup
	var once sync.Once
	for p := range 6 {
		producers.Go(func() {
			for n := range 100 * messages {
				id := fmt.Sprint(p, "-", n)
				if _, err := q.Publish(ctx, queue.Message{ID: id, Body: []byte(id)}, "in"); err != nil {
					return
				}
				if l.note(l.published, id) >= messages {
					once.Do(cut)
				}
			}
		})
	}
	for range 3 {
		all.Go(func() {
			for {
				one, err := q.Take(ctx, "in")
				if err == nil {
					err = one.Finish(ctx, queue.Outgoing{To: "out", Message: queue.Message{ID: one.ID, Body: one.Body}})
				}
				if err != nil {
					return
				}
				l.note(l.passed, one.ID)
			}
		})
	}
	producers.Wait()
	stop() // those that wait for messages
	all.Wait()
	return l
}

// verify fails the test if a message that was acknowledged is lost or there twice, or if one that
// was passed on is still to be passed on.
func (l *queueLedger) verify(t *testing.T, s *store.Store) {
	t.Helper()
	q, err := queue.Open(s, queue.Options{Lost: func(name, id string, cause error) { t.Errorf("%s of %s is lost: %v", id, name, cause) }})
	must(t, err)
	found := map[string]map[string]int{"in": {}, "out": {}}
	for name, ids := range found {
		stats, err := q.Stats(t.Context(), name)
		must(t, err)
		for range stats.Messages {
			one, err := q.Take(t.Context(), name)
			must(t, err)
			ids[one.ID]++
			must(t, one.Finish(t.Context()))
		}
	}
	for id := range l.published {
		if n := found["in"][id] + found["out"][id]; n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	for id, n := range found["out"] {
		if n+found["in"][id] != 1 {
			t.Errorf("%s is %d times in \"out\" and %d times in \"in\"", id, n, found["in"][id])
		}
	}
	for id := range l.passed {
		if found["out"][id] != 1 {
			t.Errorf("%s was passed on, and is %d times in the queue it came from", id, found["in"][id])
		}
	}
	if messages, bytes := q.Total(); messages != 0 || bytes != 0 {
		t.Errorf("the empty queues count %d messages and %d bytes", messages, bytes)
	}
}

// After a power cut the queues have all that was acknowledged, and nothing twice.
func TestQueueAfterPowerCut(t *testing.T) {
	cuts := 3
	if thorough {
		cuts = 25
	}
	for cut := range cuts {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
			d := &disk{t, file}
			write(t, file, nil)
			must(t, os.Truncate(file, diskSize))
			d.run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", file)
			d.mountAt(dir)
			s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
			must(t, err)
			q, err := queue.Open(s, queue.Options{})
			must(t, err)
			must(t, q.SetRules(t.Context(), "in", queue.Rules{Parallel: 3}))
			l := workUntilError(t.Context(), q, 10+13*cut, func() {
				_ = s.Update(t.Context(), func(*store.Tx) error { cutPower(t, dir); return nil }) // between two commits
			})
			t.Logf("acknowledged were %d messages, and %d as passed on", len(l.published), len(l.passed))
			_ = s.Close() // what it says of the disk does not matter

			after, again := &disk{t, file + "-after"}, t.TempDir()
			d.run("cp", "--sparse=always", file, after.file) // as the disk is now, and mounted by nothing else
			after.mountAt(again)
			s, err = store.Open(filepath.Join(again, "store.db"), store.Options{Told: func(message string) { t.Error(message) }})
			must(t, err)
			l.verify(t, s)
			must(t, s.Close())
		})
	}
}

// A full disk refuses messages, keeps what it has, and takes messages again once there is room.
func TestQueueOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	memoryDisk(t, dir)
	s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	q, err := queue.Open(s, queue.Options{})
	must(t, err)
	_, err = q.Publish(t.Context(), queue.Message{ID: "one"}, "in")
	must(t, err)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 0)
	if _, err := q.Publish(t.Context(), queue.Message{ID: "two", Body: make([]byte, queue.MaxBody)}, "in"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("a full disk says %v", err)
	}
	one, err := q.Take(t.Context(), "in")
	must(t, err)
	must(t, os.Remove(ballast))
	must(t, one.Finish(t.Context()))
	r, err := q.Publish(t.Context(), queue.Message{ID: "two"}, "in")
	if must(t, err); r.Seen {
		t.Error("a message that was refused is taken for seen")
	}
}
