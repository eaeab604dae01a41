package output

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/regularfile"
)

// maxReadBytesKept is how many bytes of a file that were read already may stay on disk.
const maxReadBytesKept = 1 << 20

// outputFile reads a growing file that a tree has as its stdout or stderr. Unlike a pipe, a
// file needs no reader while there is no host. The host punches holes where it has read.
type outputFile struct {
	file     *os.File        // opened for reading
	grown    <-chan struct{} // has a value when the file has grown
	unwatch  func()          // ends that; nil if it has not begun
	readUpTo *os.File        // stores offset for the next host, 8 bytes little-endian
	offset   int64           // all before this was read
	freed    int64           // all before this was punched out

	expiry  sync.Mutex
	timer   *time.Timer   // closes expired; nil without a deadline
	expired chan struct{} // closed when the read deadline has passed
}

// openOutputFile opens the file, or makes it, and returns its reader and its write end. The
// reader begins where an earlier host stopped to read.
func openOutputFile(path string) (_ *outputFile, write *os.File, err error) {
	s := &outputFile{expired: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(), write.Close())
		}
	}()
	if write, err = regularfile.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	if s.file, err = regularfile.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if s.readUpTo, err = regularfile.OpenFile(path+".read", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	if s.grown, s.unwatch, err = growths.add(path); err != nil {
		return nil, nil, err
	}
	text := make([]byte, 8)
	if n, _ := s.readUpTo.ReadAt(text, 0); n == len(text) {
		s.offset = int64(binary.LittleEndian.Uint64(text))
	}
	s.freed = s.offset
	return s, write, nil
}

// Read waits for the file to grow. After the deadline it returns what is there, and io.EOF at
// the end of the file.
func (s *outputFile) Read(p []byte) (int, error) {
	for isLast := false; ; {
		n, err := s.file.ReadAt(p, s.offset)
		if n > 0 {
			s.offset += int64(n)
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
		s.storeOffsetAndFreeBlocks()
		if isLast {
			return 0, io.EOF
		}
		select {
		case <-s.grown:
		case <-s.expired:
			isLast = true // it may have grown since it was read
		}
	}
}

// storeOffsetAndFreeBlocks stores the offset and frees the blocks before it. On a file
// system without holes the file is truncated instead, once all of it was read.
func (s *outputFile) storeOffsetAndFreeBlocks() {
	if s.offset-s.freed > maxReadBytesKept {
		fd := int(s.file.Fd())
		switch err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.freed, s.offset-s.freed); {
		case err == nil:
			s.freed = s.offset
		case errors.Is(err, unix.ENOTSUP) && s.file.Truncate(0) == nil:
			s.offset, s.freed = 0, 0
		}
	}
	_, _ = s.readUpTo.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(s.offset)), 0) // after an error the next host reads some lines twice
}

// SetReadDeadline bounds how long Read waits. A deadline that has passed stays.
func (s *outputFile) SetReadDeadline(deadline time.Time) error {
	s.expiry.Lock()
	defer s.expiry.Unlock()
	if s.timer != nil && !s.timer.Stop() {
		return nil // expired is closed, or is about to be
	}
	s.timer = time.AfterFunc(time.Until(deadline), func() { close(s.expired) })
	return nil
}

// Close closes the descriptors, also those of an outputFile that could not be opened whole.
func (s *outputFile) Close() error {
	s.expiry.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.expiry.Unlock()
	if s.unwatch != nil {
		s.unwatch()
		s.unwatch = nil
	}
	var errs []error
	for _, f := range []*os.File{s.file, s.readUpTo} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
