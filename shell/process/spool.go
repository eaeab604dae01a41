package process

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// maxSpool is how much that was read already stays on disk.
const maxSpool = 1 << 20

// spool is a file that a tree writes to as its stdout or stderr and the host reads
// as it grows: a pipe would need somebody who holds the other end. What was read
// is punched out of it.
type spool struct {
	file  *os.File // for reading
	news  *os.File // inotify
	mark  *os.File // holds at, for the next host
	at    int64    // all before this was read
	freed int64    // all before this was punched out
}

// openSpool opens the file, or makes it. What an earlier host has read is not read
// again.
func openSpool(path string) (_ *spool, write *os.File, err error) {
	s := &spool{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(), write.Close())
		}
	}()
	if write, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	if s.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if s.mark, err = os.OpenFile(path+".read", os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, nil, err
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_init", err)
	}
	s.news = os.NewFile(uintptr(fd), "inotify")
	if _, err = unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		return nil, nil, os.NewSyscallError("inotify_add_watch", err)
	}
	text := make([]byte, 8)
	if n, _ := s.mark.ReadAt(text, 0); n == len(text) {
		s.at = int64(binary.LittleEndian.Uint64(text))
	}
	s.freed = s.at
	return s, write, nil
}

// Read waits for more until the deadline, and is at the end of the file then.
func (s *spool) Read(p []byte) (int, error) {
	for {
		n, err := s.file.ReadAt(p, s.at)
		if n > 0 {
			s.at += int64(n)
			return n, nil
		}
		if !errors.Is(err, io.EOF) {
			return 0, err
		}
		s.settle()
		events := make([]byte, 4096)
		if _, err := s.news.Read(events); err != nil {
			return 0, io.EOF
		}
	}
}

// settle notes what was read and gives its blocks back. A file system that can't
// punch holes has the file cut when all of it was read.
func (s *spool) settle() {
	if s.at-s.freed > maxSpool {
		fd := int(s.file.Fd())
		switch err := unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, s.freed, s.at-s.freed); {
		case err == nil:
			s.freed = s.at
		case errors.Is(err, unix.ENOTSUP) && s.file.Truncate(0) == nil:
			s.at, s.freed = 0, 0
		}
	}
	_, _ = s.mark.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(s.at)), 0) // or some of it is read twice
}

// SetReadDeadline bounds the wait for more.
func (s *spool) SetReadDeadline(at time.Time) error { return s.news.SetReadDeadline(at) }

// Close may be called on a spool that was never complete.
func (s *spool) Close() error {
	var errs []error
	for _, f := range []*os.File{s.file, s.news, s.mark} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
