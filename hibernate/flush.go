package hibernate

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// flushInterval is short against the time that a large dump takes.
const flushInterval = 5 * time.Millisecond

// flushEarly has the kernel write the memory in dir to disk while the engine
// still dumps, so that the sync at the end finds most of it done. It ends with
// the returned function, which sends all the rest on its way.
func flushEarly(dir string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(flushInterval)
		defer tick.Stop()
		files := make(map[string]*os.File)
		for {
			select {
			case <-tick.C:
				flush(dir, pagesPrefix+"*", files)
			case <-done:
				flush(dir, "*", files)
				for _, f := range files {
					_ = f.Close()
				}
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// flush begins to write what is new in the files; it waits for nothing and whatever
// it can't do is left to the sync.
func flush(dir, pattern string, open map[string]*os.File) {
	names, _ := filepath.Glob(filepath.Join(dir, pattern))
	for _, name := range names {
		f := open[name]
		if f == nil {
			var err error
			if f, err = os.Open(name); err != nil {
				continue
			}
			open[name] = f
		}
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// syncers is how many files are synced at a time: what a file system writes for one
// small file it can write for several at once.
const syncers = 8

// syncAll returns when the contents of the files are on disk.
func syncAll(files []*os.File) error {
	next, errs := make(chan *os.File), make(chan error)
	for range syncers {
		go func() {
			var failed []error
			for f := range next {
				failed = append(failed, f.Sync())
			}
			errs <- errors.Join(failed...)
		}()
	}
	for _, f := range files {
		next <- f
	}
	close(next)
	var err error
	for range syncers {
		err = errors.Join(err, <-errs)
	}
	return err
}
