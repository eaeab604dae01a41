package output

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// drainedPipe is the host's end of a pipe. Bytes that are in the pipe when the read
// deadline passes are still read, since a busy host may be late.
type drainedPipe struct {
	*os.File
	deadlinePassed bool
	left           int // bytes that were in the pipe at the deadline and are unread
}

func (d *drainedPipe) Read(b []byte) (int, error) {
	if d.deadlinePassed {
		return d.readLeft(b)
	}
	n, err := d.File.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	d.deadlinePassed, d.left = true, buffered(d.File)
	if err := d.SetReadDeadline(time.Time{}); err != nil { // bytes that are there don't block
		return 0, err
	}
	return d.readLeft(b)
}

func (d *drainedPipe) readLeft(b []byte) (int, error) {
	if d.left == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := d.File.Read(b[:min(len(b), d.left)])
	d.left -= n
	return n, err
}

// buffered returns the number of bytes in the pipe, 0 if that is unknown.
func buffered(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
