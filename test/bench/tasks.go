package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// measureTasks changes tasks, in turn with bare rows of the same bytes that the same store writes,
// and so shares the same commits; and opens them when many are pending and many have ended.
func measureTasks(ctx context.Context, b *bench) (rows []row, err error) {
	for _, writers := range []int{1, 64} {
		one, err := compareTaskUpdates(ctx, writers, b.runs)
		if err != nil {
			return rows, err
		}
		rows = append(rows, one)
	}
	opened, err := compareTaskStarts(ctx, b.runs)
	return append(rows, opened), err
}

func compareTaskUpdates(ctx context.Context, writers, runs int) (_ row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-tasks")
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	each := 150 // at 64 writers each does less, all together more
	if writers > 1 {
		each = 24
	}
	var own, bare series
	err = rounds(ctx, runs, func() error {
		return errors.Join(
			timeKeeper(ctx, dir, openTaskKeeper, &own, writers, each, "publish"),
			timeKeeper(ctx, dir, openBare, &bare, writers, each, "publish"),
		)
	}, &own, &bare)
	what := fmt.Sprintf("task updates %d, %d at a time", writers*each, writers)
	return row{what: what, own: own, yardstick: "bare rows of the same bytes", plain: bare, aim: 1 / 0.5}, err
}

// taskKeeper is Dormouse's tasks, as the thing that keeps what is published: as lines of logs.
type taskKeeper struct {
	*tasks.Tasks
	store  *store.Store
	server taskspb.TasksServer
	ids    []string // a task for each writer
	next   atomic.Int64
	line   string
}

// owner is the plugin of all tasks.
const owner = "Bench"

func openTasks(path string) (*taskKeeper, error) {
	s, err := store.Open(path, store.Options{})
	if err != nil {
		return nil, err
	}
	config := configs.DefaultTasks()
	config.MaxPending = 1_000_000
	t, err := tasks.New(tasks.Options{Store: s, Dir: filepath.Join(filepath.Dir(path), "outputs"), Config: config, Log: zerolog.Nop()})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &taskKeeper{Tasks: t, store: s, server: t.Service(nil), line: string(bytes.Repeat([]byte("x"), messageBytes-1))}, nil
}

func openTaskKeeper(ctx context.Context, path string, writers int) (keeper, error) {
	k, err := openTasks(path)
	for range writers {
		if err == nil {
			var made *taskspb.Task
			made, err = k.server.Create(shell.WithCaller(ctx, owner), &taskspb.CreateRequest{})
			k.ids = append(k.ids, made.GetId())
		}
	}
	return k, err
}

// publish adds a line to the log of a task, and sets its progress.
func (k *taskKeeper) publish(ctx context.Context) error {
	n := k.next.Add(1)
	_, err := k.server.Update(shell.WithCaller(ctx, owner), &taskspb.UpdateRequest{
		Task: k.ids[int(n)%len(k.ids)], Log: []string{k.line}, Progress: &taskspb.Progress{Value: float64(n), Target: 1000},
	})
	return err
}

func (k *taskKeeper) pass(context.Context) error { return errors.ErrUnsupported }

func (k *taskKeeper) close() error { return k.store.Close() }

// bareKeeper is a store with nothing but rows.
type bareKeeper struct {
	*store.Store
	body []byte
}

func openBare(_ context.Context, path string, _ int) (keeper, error) {
	s, err := store.Open(path, store.Options{})
	if err == nil {
		err = s.Define("bare", "CREATE TABLE bare (n INTEGER PRIMARY KEY, body BLOB)")
	}
	return &bareKeeper{s, make([]byte, messageBytes)}, err
}

func (k *bareKeeper) publish(ctx context.Context) error {
	return k.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec("INSERT INTO bare (body) VALUES (?)", k.body)
		return err
	})
}

func (k *bareKeeper) pass(context.Context) error { return errors.ErrUnsupported }

func (k *bareKeeper) close() error { return k.Close() }

// manyTasks is how many tasks there are at a start: half of them pending.
const manyTasks = 10_000

// compareTaskStarts opens tasks when there are many and when there is one. It is an error if
// many need more memory or time than they may.
func compareTaskStarts(ctx context.Context, runs int) (_ row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-bench-tasks")
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	many, few := filepath.Join(dir, "many.db"), filepath.Join(dir, "few.db")
	if err := errors.Join(makeTasks(ctx, many, manyTasks), makeTasks(ctx, few, 1)); err != nil {
		return row{}, err
	}
	var own, plain series
	var most int64
	err = rounds(ctx, runs, func() error {
		grown, err := timeTaskStart(many, &own)
		most = max(most, grown)
		if err == nil {
			_, err = timeTaskStart(few, &plain)
		}
		return err
	}, &own, &plain)
	if more := own.median() - plain.median(); err == nil && more > time.Second {
		err = fmt.Errorf("%d tasks need %s more at start, more than 1s", manyTasks, more)
	}
	if err == nil && most > 32<<20 {
		err = fmt.Errorf("%d tasks need %d bytes of memory, more than 32 MiB", manyTasks, most)
	}
	return row{what: fmt.Sprintf("open the tasks, %d there, %d KiB", manyTasks, most>>10), own: own, yardstick: "one there", plain: plain}, err
}

// makeTasks makes so many tasks with a log, every other of which has ended.
func makeTasks(ctx context.Context, path string, count int) (err error) {
	k, err := openTasks(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.close()) }()
	ctx = shell.WithCaller(ctx, owner)
	var n atomic.Int64
	return atOnce(min(64, count), max(count/64, 1), func() error {
		made, err := k.server.Create(ctx, &taskspb.CreateRequest{Title: "bench", Parameters: []byte(`{"n":1}`)})
		if err == nil {
			_, err = k.server.Update(ctx, &taskspb.UpdateRequest{Task: made.GetId(), Log: []string{k.line}})
		}
		if err == nil && n.Add(1)%2 == 0 {
			_, err = k.server.Finish(ctx, &taskspb.FinishRequest{Task: made.GetId(), Status: taskspb.Status_STATUS_SUCCESS})
		}
		return err
	})
}

// timeTaskStart adds how long it takes to open the tasks, and returns by how much the heap has
// grown.
func timeTaskStart(path string, times *series) (grown int64, err error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var k *taskKeeper
	err = timed(times, func() (err error) {
		k, err = openTasks(path)
		return err
	})
	if err != nil {
		return 0, err
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc), k.close()
}
