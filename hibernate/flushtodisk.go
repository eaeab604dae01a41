package hibernate

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/filenames"
)

// flushInterval is the time between two flushes, much less than a large dump takes.
const flushInterval = 5 * time.Millisecond

// flushPagesInBackground has the kernel write the page files in dir to disk while the engine
// still dumps, so that the sync after the dump has little left to write. The caller must call
// stop after the dump: it also has the kernel begin to write all other files in dir.
func flushPagesInBackground(dir string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(flushInterval)
		defer tick.Stop()
		files := make(map[string]*os.File)
		for {
			select {
			case <-tick.C:
				startWriteback(dir, pagesPrefix, files)
			case <-done:
				startWriteback(dir, "", files)
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

// startWriteback has the kernel begin to write the new data of the files in dir whose names
// begin with prefix. It waits for nothing and ignores errors, since a sync follows. It keeps
// the files open, by name in openFiles, for the next call.
func startWriteback(dir, prefix string, openFiles map[string]*os.File) {
	names, _ := filenames.PathsIn(dir, prefix, "")
	for _, name := range names {
		f := openFiles[name]
		if f == nil {
			var err error
			if f, err = os.Open(name); err != nil {
				continue
			}
			openFiles[name] = f
		}
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// syncers is how many files are synced at a time. One write of a file system can serve
// several small files.
const syncers = 8

// syncFiles returns when the contents of the files are on disk.
func syncFiles(files []*os.File) error {
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
