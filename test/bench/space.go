package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// compareWriting hibernates a plugin of mib MiB, its image packed so, in turn with
// dd writing and syncing as many random bytes. What becomes of one is gone before
// the other begins.
func (s *stage) compareWriting(ctx context.Context, name string, packing hibernate.Packing, mib, runs int) (row, error) {
	s.images.Pack(packing)
	defer s.images.Pack(hibernate.Packing{})
	own, err := s.lazySleeper(ctx, "Written", mib)
	if err != nil {
		return row{}, err
	}
	source, target := filepath.Join(s.dir, "random"), filepath.Join(s.dir, "written")
	if err := dd(ctx, "/dev/urandom", source, mib); err != nil {
		return row{}, err
	}
	var hibernates, writes series
	for run := range runs + 1 {
		unix.Sync() // nobody pays for what others left
		err = errors.Join(
			timed(&writes, func() error { return dd(ctx, source, target, mib, "conv=fsync") }),
			os.Remove(target),
		)
		unix.Sync()
		if err = errors.Join(err, timed(&hibernates, func() error { return own.Hibernate(ctx, shell.Requested, 0) })); err == nil {
			err = errors.Join(own.wake(ctx), own.loaded(ctx))
		}
		if err != nil {
			break
		}
		s.images.Close()
		if run == 0 {
			hibernates, writes = nil, nil // warm-up
		}
	}
	err = errors.Join(err, own.end(ctx), os.Remove(source))
	return row{fmt.Sprintf("hibernate %d MiB%s", mib, name), hibernates, "dd conv=fsync", writes, 1.3}, err
}

func dd(ctx context.Context, from, to string, mib int, more ...string) error {
	args := append([]string{"if=" + from, "of=" + to, "bs=1M", fmt.Sprintf("count=%d", mib), "status=none"}, more...)
	return exec.CommandContext(ctx, "dd", args...).Run()
}

// crowd says what n hibernated instances cost while nobody uses them: memory of
// this process and all below it, which is where a host keeps them, and processor
// time.
func (s *stage) crowd(ctx context.Context, n int) (string, error) {
	var sleepers []*sleeper
	first, err := s.lazySleeper(ctx, "Sleeper", 1) // what the first one needs all share
	if err != nil {
		return "", err
	}
	sleepers = append(sleepers, first)
	err = first.Hibernate(ctx, shell.Requested, 0)
	before := resident()
	for i := 0; i < n && err == nil; i++ {
		var next *sleeper
		if next, err = s.lazySleeper(ctx, fmt.Sprintf("Sleeper%d", i), 1); err == nil {
			sleepers = append(sleepers, next)
			err = next.Hibernate(ctx, shell.Requested, 0)
		}
	}
	if err != nil {
		return "", err
	}
	after := resident()
	var begin, end unix.Rusage
	const idle = 5 * time.Second
	err = unix.Getrusage(unix.RUSAGE_SELF, &begin)
	time.Sleep(idle)
	err = errors.Join(err, unix.Getrusage(unix.RUSAGE_SELF, &end))
	used := time.Duration(end.Utime.Nano() + end.Stime.Nano() - begin.Utime.Nano() - begin.Stime.Nano())
	report := fmt.Sprintf("%d hibernated instances: %d KiB resident each (aim 200), %.2f %% of one processor while idle",
		n, (after-before)/int64(n)>>10, 100*used.Seconds()/idle.Seconds())
	for _, one := range sleepers {
		one.Close()
		err = errors.Join(err, s.images.Slot(one.Callsign()).Remove())
	}
	return report, err
}

// resident is what this process and all below it have in memory.
func resident() int64 {
	runtime.GC()
	debug.FreeOSMemory()
	return procfs.PSS(procfs.Tree(os.Getpid()))
}
