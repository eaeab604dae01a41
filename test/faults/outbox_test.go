package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// target notes the numbers that it gets, by line.
type target struct {
	mu  sync.Mutex
	got map[string][]int
}

// ServeHTTP takes the delivery /LINE/NUMBER.
func (g *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	line, text, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	var n int
	if _, err := fmt.Sscan(text, &n); err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got[line] = append(g.got[line], n)
}

// verify fails the test unless each line has got 1, 2, 3 … up to the last on disk, none left out,
// none invented, and none again but the one before.
func (g *target) verify(t *testing.T, acknowledged, stored map[string]int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for line, count := range stored {
		last := 0
		for _, n := range g.got[line] {
			if n != last+1 && n != last {
				t.Fatalf("line %s has got %d after %d", line, n, last)
			}
			last = n
		}
		if last != count || last < acknowledged[line] {
			t.Errorf("line %s has got up to %d; on disk are %d, acknowledged were %d", line, last, count, acknowledged[line])
		}
	}
}

// openOutbox returns an outbox in the store that may deliver to this machine.
func openOutbox(t *testing.T, s *store.Store) *outbox.Outbox {
	t.Helper()
	rule, err := targets.ParseRule("127.0.0.1")
	must(t, err)
	box, err := outbox.Open(s, outbox.Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})})
	must(t, err)
	return box
}

// runWhile runs the outbox while work runs.
func runWhile(box *outbox.Outbox, work func()) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { box.Run(ctx) })
	work()
	stop()
	running.Wait()
}

// deliverUntilError puts numbered deliveries of a few lines in until all have failed, calls cut after
// that many, and returns the last of each line that was acknowledged.
func deliverUntilError(s *store.Store, box *outbox.Outbox, url string, deliveries int, cut func()) map[string]int {
	acknowledged := make(map[string]int)
	numbers := store.BucketOf[int](s, "numbers")
	var mu sync.Mutex
	var all sync.WaitGroup
	var once sync.Once
	count := 0
	for n := range 6 {
		line := fmt.Sprint(n)
		all.Go(func() {
			for next := 1; next <= 100*deliveries; next++ {
				err := s.Update(context.Background(), func(tx *store.Tx) error {
					if err := numbers.PutIn(tx, line, next); err != nil {
						return err
					}
					return box.PutIn(tx, outbox.Delivery{Line: line, Event: "status", URL: fmt.Sprintf("%s/%s/%d", url, line, next)})
				})
				if err != nil {
					return
				}
				box.Wake()
				mu.Lock()
				acknowledged[line] = next
				count++
				isTime := count >= deliveries
				mu.Unlock()
				if isTime {
					once.Do(cut)
				}
			}
		})
	}
	all.Wait()
	return acknowledged
}

// After a power cut every delivery that is on disk is made, in order, and no other.
func TestOutboxAfterPowerCut(t *testing.T) {
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
			g := &target{got: make(map[string][]int)}
			server := httptest.NewServer(g)
			defer server.Close()
			box := openOutbox(t, s)
			var acknowledged map[string]int
			runWhile(box, func() {
				acknowledged = deliverUntilError(s, box, server.URL, 10+17*cut, func() {
					_ = s.Update(t.Context(), func(*store.Tx) error { cutPower(t, dir); return nil }) // between two commits
				})
			})
			_ = s.Close() // what it says of the disk does not matter

			after, again := &disk{t, file + "-after"}, t.TempDir()
			d.run("cp", "--sparse=always", file, after.file) // as the disk is now, and mounted by nothing else
			after.mountAt(again)
			s, err = store.Open(filepath.Join(again, "store.db"), store.Options{Told: func(message string) { t.Error(message) }})
			must(t, err)
			stored, err := store.BucketOf[int](s, "numbers").All()
			must(t, err)
			box = openOutbox(t, s)
			runWhile(box, func() { untilDelivered(t, box) })
			g.verify(t, acknowledged, stored)
			must(t, s.Close())
		})
	}
}

// untilDelivered returns when nothing waits.
func untilDelivered(t *testing.T, box *outbox.Outbox) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for {
		figures, err := box.Stats(ctx)
		must(t, err)
		if figures.Waiting == 0 {
			return
		}
	}
}

// A full disk delays deliveries, and makes none twice or lost once there is room.
func TestOutboxOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	memoryDisk(t, dir)
	s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	g := &target{got: make(map[string][]int)}
	server := httptest.NewServer(g)
	defer server.Close()
	box := openOutbox(t, s)
	put := func(n int) error {
		return s.Update(t.Context(), func(tx *store.Tx) error {
			return box.PutIn(tx, outbox.Delivery{Line: "0", Event: "status", URL: fmt.Sprintf("%s/0/%d", server.URL, n), Body: make([]byte, 4<<10)})
		})
	}
	must(t, put(1))
	must(t, put(2))
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast, 0)
	runWhile(box, func() {
		until(t, "the first delivery", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return len(g.got["0"]) > 0 })
		must(t, os.Remove(ballast))
		untilDelivered(t, box)
	})
	must(t, put(3))
	runWhile(box, func() { untilDelivered(t, box) })
	g.verify(t, nil, map[string]int{"0": 3})
}
