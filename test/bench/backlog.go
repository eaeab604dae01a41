package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"dormouse/internal/queue"
)

// backlog is how many messages wait in the measurements of a long backlog.
const backlog = 1_000_000

// openVerb has this program open queues, take a message, and print an opening.
const openVerb = "open-queues"

// opening is what it costs a process to open queues and to take the first message.
type opening struct {
	Took     time.Duration
	Resident int64 // bytes
}

// measureBacklog fills a queue, opens it, and drains it again.
func measureBacklog(ctx context.Context, b *bench) (_ []row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-backlog")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	full, empty := filepath.Join(dir, "full.db"), filepath.Join(dir, "empty.db")
	fullOpened := row{what: fmt.Sprintf("open the queues, %d messages wait", backlog), yardstick: "one message waits"}
	drained := row{what: "publish 1536, 64 at a time, after they are drained", yardstick: "before", aim: 1.3}
	if err := publishRounds(ctx, full, b.runs, &drained.plain); err != nil {
		return nil, err
	}
	if err := errors.Join(fill(ctx, full, backlog), fill(ctx, empty, 1)); err != nil {
		return nil, err
	}
	var memory [2]int64
	err = rounds(ctx, b.runs, func() error {
		for i, opened := range []struct {
			path  string
			times *series
		}{{full, &fullOpened.own}, {empty, &fullOpened.plain}} {
			o, err := openInChild(ctx, opened.path)
			if err != nil {
				return err
			}
			*opened.times = append(*opened.times, o.Took)
			memory[i] = o.Resident
		}
		return nil
	}, &fullOpened.own, &fullOpened.plain)
	if err != nil {
		return nil, err
	}
	before, err := fileSize(full)
	if err != nil {
		return nil, err
	}
	if err := drain(ctx, full); err != nil {
		return nil, err
	}
	if err := publishRounds(ctx, full, b.runs, &drained.own); err != nil {
		return nil, err
	}
	if err := fill(ctx, full, backlog); err != nil {
		return nil, err
	}
	after, err := fileSize(full)
	fmt.Printf("%d messages that wait cost %+.1f MiB of memory (at most 16) and %+.3f s of a start (at most 0.1). The file has %d MiB; drained and filled again it has %d MiB.\n",
		backlog, float64(memory[0]-memory[1])/(1<<20), (fullOpened.own.median() - fullOpened.plain.median()).Seconds(), before>>20, after>>20)
	return []row{fullOpened, drained}, err
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// fill puts that many short messages into the first queue of the file, many in one
// transaction.
func fill(ctx context.Context, path string, n int) error {
	q, err := openQueuesOf(path)
	if err != nil {
		return err
	}
	const each = 5000
	for n > 0 && err == nil {
		some := make([]queue.Outgoing, min(n, each))
		for i := range some {
			some[i] = queue.Outgoing{To: "in", Message: queue.Message{ID: fmt.Sprint(n - i), Body: make([]byte, 100)}}
		}
		n -= len(some)
		if _, err = q.Publish(ctx, queue.Message{}, "seed"); err == nil {
			var seed *queue.Taken
			if seed, err = q.Take(ctx, "seed"); err == nil {
				err = seed.Finish(ctx, some...)
			}
		}
	}
	return errors.Join(err, q.close())
}

// drain takes and finishes all that waits in the first queue of the file.
func drain(ctx context.Context, path string) error {
	q, err := openQueuesOf(path)
	if err != nil {
		return err
	}
	s, err := q.Stats(ctx, "in")
	const consumers = 256
	err = errors.Join(err, q.SetRules(ctx, "in", queue.Rules{Parallel: consumers}))
	if err == nil {
		err = atOnce(consumers, int(s.Messages)/consumers, func() error {
			taken, err := q.Take(ctx, "in")
			if err != nil {
				return err
			}
			return taken.Finish(ctx)
		})
	}
	return errors.Join(err, q.Drop(ctx, "in"), q.close()) // the last few
}

// publishRounds adds how long 64 producers need for 1536 messages to another queue of the
// file, which is empty again after each.
func publishRounds(ctx context.Context, path string, runs int, times *series) error {
	q, err := openQueuesOf(path)
	if err != nil {
		return err
	}
	err = rounds(ctx, runs, func() error {
		err := timed(times, func() error {
			return atOnce(64, 24, func() error {
				_, err := q.Publish(ctx, queue.Message{Body: q.body}, "other")
				return err
			})
		})
		return errors.Join(err, q.Drop(ctx, "other"))
	}, times)
	return errors.Join(err, q.close())
}

// openInChild opens the queues in a process that does nothing else.
func openInChild(ctx context.Context, path string) (o opening, err error) {
	self, err := os.Executable()
	if err != nil {
		return o, err
	}
	cmd := exec.CommandContext(ctx, self, openVerb, path)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return o, err
	}
	return o, json.Unmarshal(out, &o)
}

// printOpening is what the child does.
func printOpening(path string) error {
	ctx := context.Background()
	var o opening
	start := time.Now()
	q, err := openQueuesOf(path)
	if err != nil {
		return err
	}
	if _, err := q.Take(ctx, "in"); err != nil {
		return errors.Join(err, q.close())
	}
	o.Took, o.Resident = time.Since(start), resident()
	return errors.Join(json.NewEncoder(os.Stdout).Encode(o), q.close())
}
