package blobfiles

import (
	"crypto/sha256"
	"errors"
	"hash"
	"os"

	"golang.org/x/sys/unix"

	"dormouse/internal/failpoint"
)

const (
	// sideBySide is from how many bytes on a part is written and summed at the same time.
	sideBySide = 32 << 10
	// writeBehind is after how many bytes the kernel is asked to begin to write them to the
	// disk, so that the sync at the end has little left to do.
	writeBehind = 8 << 20
)

// Draft is a file that is not whole yet. It is a file without a blob until its user says so
// elsewhere. One goroutine uses it.
type Draft struct {
	dir    *Dir
	name   string
	file   *os.File
	sum    hash.Hash
	size   int64
	behind int64 // up to there the kernel was asked to write
	closed bool
}

// NewDraft returns an empty file.
func (d *Dir) NewDraft() (*Draft, error) {
	name := newName()
	f, err := os.OpenFile(d.pathOf(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &Draft{dir: d, name: name, file: f, sum: sha256.New()}, nil
}

// Name returns the name of the file.
func (d *Draft) Name() string { return d.name }

// Size returns how many bytes were written.
func (d *Draft) Size() int64 { return d.size }

// Sum returns the SHA-256 of what was written.
func (d *Draft) Sum() [sha256.Size]byte { return [sha256.Size]byte(d.sum.Sum(nil)) }

// Write appends to the file.
func (d *Draft) Write(part []byte) (n int, err error) {
	if len(part) < sideBySide {
		d.sum.Write(part)
		n, err = d.file.Write(part)
	} else {
		summed := make(chan struct{})
		go func() {
			defer close(summed)
			d.sum.Write(part)
		}()
		n, err = d.file.Write(part)
		<-summed
	}
	d.size += int64(n)
	failpoint.Hit("state.blobwritten")
	if d.size-d.behind >= writeBehind {
		// Only a hint: a file system that can't do it writes at the sync.
		_ = unix.SyncFileRange(int(d.file.Fd()), d.behind, d.size-d.behind, unix.SYNC_FILE_RANGE_WRITE)
		d.behind = d.size
	}
	return n, err
}

// Finish makes the file durable under its name.
func (d *Draft) Finish() error {
	err := d.file.Sync()
	d.closed = true
	if err = errors.Join(err, d.file.Close()); err != nil {
		return err
	}
	failpoint.Hit("state.blobsynced")
	return d.dir.Sync()
}

// Discard removes the file.
func (d *Draft) Discard() error {
	var err error
	if !d.closed {
		d.closed = true
		err = d.file.Close()
	}
	return errors.Join(err, d.dir.Remove(d.name))
}
