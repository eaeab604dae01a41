package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// measureIdle prints what many hibernated instances cost, and returns no row.
func measureIdle(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	report, err := s.crowd(ctx, 100)
	if err == nil {
		fmt.Println(report)
	}
	return nil, err
}

// crowd prints what n hibernated instances cost while no client uses them: memory of
// this process and all below it, which is where a host keeps them, and processor
// time.
func (s *stage) crowd(ctx context.Context, n int) (report string, err error) {
	var sleepers []*sleeper
	defer func() {
		for _, one := range sleepers {
			err = errors.Join(err, one.end(ctx), s.host.Processes.Images.ImageDir(one.Callsign()).RemoveAll())
		}
	}()
	var before int64
	for i := range n + 1 {
		one, err := s.usual(ctx, fmt.Sprintf("Sleeper%d", i), 0)
		if err != nil {
			return "", err
		}
		sleepers = append(sleepers, one)
		if err := one.sleep(ctx); err != nil {
			return "", err
		}
		if i == 0 { // what the first one needs all share
			before = resident()
		}
	}
	after := resident()
	var begin, end unix.Rusage
	const idle = 5 * time.Second
	err = unix.Getrusage(unix.RUSAGE_SELF, &begin)
	select {
	case <-time.After(idle):
	case <-ctx.Done():
	}
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &end))
	used := time.Duration(end.Utime.Nano() + end.Stime.Nano() - begin.Utime.Nano() - begin.Stime.Nano())
	report = fmt.Sprintf("%d hibernated instances: %d KiB resident each (aim 200), %.2f %% of one processor while idle",
		n, (after-before)/int64(n)>>10, 100*used.Seconds()/idle.Seconds())
	return report, err
}

// resident is what this process and all below it have in memory.
func resident() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	return procfs.PSS(procfs.Tree(os.Getpid()))
}
