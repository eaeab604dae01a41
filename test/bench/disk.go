package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/pack"
)

// measureDisk hibernates, in turn with dd.
func measureDisk(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.open(ctx)
	for _, order := range []struct {
		mib     int
		how     string
		packing pack.Options
	}{
		{10, "", pack.Options{}},
		{100, "", pack.Options{}},
		{500, "", pack.Options{}},
		{1000, "", pack.Options{}},
		{500, ", encrypted", pack.Options{Key: make([]byte, 32), Encrypt: true}},
		{500, ", compressed", pack.Options{Compress: true}},
	} {
		if err == nil {
			r := row{what: fmt.Sprintf("hibernate %d MiB%s", order.mib, order.how), yardstick: "dd conv=fsync"}
			if order.mib >= 500 {
				r.aim = 1.3
			}
			r.own, r.plain, err = s.compareWriting(ctx, order.packing, order.mib, b.runs)
			rows = append(rows, r)
		}
	}
	return rows, err
}

// compareWriting hibernates a plugin of mib MiB, its image packed so, in turn with
// dd writing and syncing as many random bytes. What becomes of one is gone before
// the other begins.
func (s *stage) compareWriting(ctx context.Context, packing pack.Options, mib, runs int) (hibernates, writes series, err error) {
	s.host.Processes.Images.SetPacking(packing)
	defer s.host.Processes.Images.SetPacking(pack.Options{})
	own, err := s.lazy(ctx, "Written", mib)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, own.end(ctx)) }()
	source, err := s.random(ctx, mib)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(source)) }()
	target := filepath.Join(s.dir, "written")
	err = rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close()
		unix.Sync() // no run pays for what an earlier one wrote
		err := errors.Join(
			timed(&writes, func() error { return dd(ctx, source, target, mib, "conv=fsync") }),
			os.Remove(target),
		)
		unix.Sync()
		if err == nil {
			err = timed(&hibernates, func() error { return own.sleep(ctx) })
		}
		if err == nil {
			err = errors.Join(own.answer(ctx), own.loaded(ctx))
		}
		return err
	}, &hibernates, &writes)
	return hibernates, writes, err
}

func dd(ctx context.Context, from, to string, mib int, more ...string) error {
	args := append([]string{"if=" + from, "of=" + to, "bs=1M", fmt.Sprintf("count=%d", mib), "status=none"}, more...)
	return exec.CommandContext(ctx, "dd", args...).Run()
}

// random makes a file of mib MiB, alone in a directory.
func (s *stage) random(ctx context.Context, mib int) (path string, err error) {
	dir := filepath.Join(s.dir, "random")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path = filepath.Join(dir, "bytes")
	return path, dd(ctx, "/dev/urandom", path, mib, "conv=fsync")
}

// evict drops the files in the directories from the page cache.
func evict(dirs ...string) (err error) {
	for _, dir := range dirs {
		entries, derr := os.ReadDir(dir)
		err = errors.Join(err, derr)
		for _, e := range entries {
			f, oerr := os.Open(filepath.Join(dir, e.Name()))
			if oerr == nil {
				oerr = errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
			}
			err = errors.Join(err, oerr)
		}
	}
	return err
}
