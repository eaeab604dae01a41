package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/internal/queue"
	"dormouse/internal/store"
)

// messageBytes is how long the messages of the measurements are.
const messageBytes = 1024

// keeper is what keeps messages on disk: Dormouse's queues, or a plain database.
type keeper interface {
	publish(ctx context.Context) error // one message into the first queue
	pass(ctx context.Context) error    // takes one from the first queue and publishes one into the second
	close() error
}

// measureQueue publishes, and takes and publishes, in turn with the same rows written by
// SQLite and by bbolt, which share commits in the same way.
func measureQueue(ctx context.Context, b *bench) (rows []row, err error) {
	for _, producers := range []int{1, 64} {
		for _, verb := range []string{"publish", "take and publish"} {
			if err == nil {
				var more []row
				more, err = compareKeepers(ctx, producers, verb, b.runs)
				rows = append(rows, more...)
			}
		}
	}
	return rows, err
}

func compareKeepers(ctx context.Context, producers int, verb string, runs int) (_ []row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-queue")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var own, lite, bolt series
	kinds := []struct {
		open  func(ctx context.Context, path string, consumers int) (keeper, error)
		times *series
	}{{openQueues, &own}, {openLite, &lite}, {openBolt, &bolt}}
	each := 150 // at 64 producers each does less, all together more
	if producers > 1 {
		each = 24
	}
	err = rounds(ctx, runs, func() error {
		for _, kind := range kinds {
			if err := timeKeeper(ctx, dir, kind.open, kind.times, producers, each, verb); err != nil {
				return err
			}
		}
		return nil
	}, &own, &lite, &bolt)
	what := fmt.Sprintf("%s %d, %d at a time", verb, producers*each, producers)
	return []row{
		{what: what, own: own, yardstick: "SQLite, the same rows", plain: lite, aim: 1 / 0.8},
		{what: what, own: own, yardstick: "bbolt", plain: bolt, aim: 1},
	}, err
}

// timeKeeper adds how long a keeper with a new file needs.
func timeKeeper(ctx context.Context, dir string, open func(context.Context, string, int) (keeper, error), times *series, producers, each int, verb string) (err error) {
	path := filepath.Join(dir, "file.db")
	k, err := open(ctx, path, producers)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, k.close())
		for _, suffix := range []string{"", "-wal", "-shm", "-lock", ".lock"} {
			_ = os.Remove(path + suffix)
		}
	}()
	work := k.publish
	if verb != "publish" {
		if err := atOnce(64, producers*each/64+1, func() error { return k.publish(ctx) }); err != nil {
			return err
		}
		work = k.pass
	}
	unix.Sync() // no run pays for what an earlier one wrote
	return timed(times, func() error { return atOnce(producers, each, func() error { return work(ctx) }) })
}

// atOnce has that many goroutines do the work, so often each.
func atOnce(goroutines, each int, work func() error) error {
	errs := make([]error, goroutines)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			for range each {
				if errs[i] = work(); errs[i] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// queues are Dormouse's.
type queues struct {
	store *store.Store
	*queue.Queues
	body []byte
}

func openQueues(ctx context.Context, path string, consumers int) (keeper, error) {
	q, err := openQueuesOf(path)
	if err != nil {
		return nil, err
	}
	return q, q.SetRules(ctx, "in", queue.Rules{Parallel: consumers})
}

func openQueuesOf(path string) (*queues, error) {
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return nil, err
	}
	q, err := queue.Open(s, queue.Options{})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &queues{s, q, make([]byte, messageBytes)}, nil
}

func (q *queues) publish(ctx context.Context) error {
	_, err := q.Publish(ctx, queue.Message{Body: q.body}, "in")
	return err
}

func (q *queues) pass(ctx context.Context) error {
	taken, err := q.Take(ctx, "in")
	if err != nil {
		return err
	}
	return taken.Finish(ctx, queue.Outgoing{To: "out", Message: queue.Message{Body: taken.Body}})
}

func (q *queues) close() error { return q.store.Close() }
