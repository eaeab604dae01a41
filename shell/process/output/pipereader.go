package output

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipeReader is the host's end of a pipe. Bytes that are in the pipe when the read
// deadline passes are still read, since a busy host may be late.
type pipeReader struct {
	*os.File
	deadlinePassed bool
	left           int // bytes that were in the pipe at the deadline and are unread
}

// Read reads from the pipe. After the deadline it reads the bytes that were in the pipe
// then, and returns os.ErrDeadlineExceeded once they are read.
func (r *pipeReader) Read(b []byte) (int, error) {
	if r.deadlinePassed {
		return r.readRemaining(b)
	}
	n, err := r.File.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	r.deadlinePassed, r.left = true, bytesInPipe(r.File)
	if err := r.SetReadDeadline(time.Time{}); err != nil { // bytes that are there don't block
		return 0, err
	}
	return r.readRemaining(b)
}

// readRemaining reads bytes that were in the pipe at the deadline, and returns
// os.ErrDeadlineExceeded if none is left.
func (r *pipeReader) readRemaining(b []byte) (int, error) {
	if r.left == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := r.File.Read(b[:min(len(b), r.left)])
	r.left -= n
	return n, err
}

// bytesInPipe returns the number of bytes in the pipe, 0 if that is unknown.
func bytesInPipe(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
