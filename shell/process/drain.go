package process

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// drain is the host's end of a pipe. What is in the pipe when its deadline passes
// is still read: a busy host may not have come to it.
type drain struct {
	*os.File
	passed bool // the deadline
	left   int  // bytes that were in the pipe then, and are not read yet
}

func (d *drain) Read(b []byte) (int, error) {
	if d.passed {
		return d.rest(b)
	}
	n, err := d.File.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	d.passed, d.left = true, waiting(d.File)
	if err := d.SetReadDeadline(time.Time{}); err != nil { // what is there does not keep waiting
		return 0, err
	}
	return d.rest(b)
}

func (d *drain) rest(b []byte) (int, error) {
	if d.left == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := d.File.Read(b[:min(len(b), d.left)])
	d.left -= n
	return n, err
}

// waiting is how many bytes are in the pipe.
func waiting(f *os.File) (n int) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
