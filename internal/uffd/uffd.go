// Package uffd fills the memory of other processes when they touch it; see
// userfaultfd(2) and linux/userfaultfd.h. It does not know where the contents
// come from.
package uffd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/userfaultfd.h; the request numbers hold the sizes of their
// arguments and are the same on all 64-bit processors.
const (
	api = 0xaa

	requestAPI      = 0xc018aa3f
	requestRegister = 0xc020aa00
	requestWake     = 0x8010aa02
	requestCopy     = 0xc028aa03
	requestZero     = 0xc020aa04

	modeMissing = 1

	featureFork   = 1 << 1
	featureRemap  = 1 << 2
	featureRemove = 1 << 3
	featureUnmap  = 1 << 6
)

// features make the kernel tell of all that moves or removes memory.
const features = featureFork | featureRemap | featureRemove | featureUnmap

// Kind is what an Event tells of.
type Kind uint8

// The kinds of events. After a Fork the child has a descriptor of its own; a
// Remove is an madvise that empties, an Unmap takes the mapping as well.
const (
	Fault  Kind = 0x12
	Fork   Kind = 0x13
	Remap  Kind = 0x14
	Remove Kind = 0x15
	Unmap  Kind = 0x16
)

// Event is what a process does with memory that is waited for.
type Event struct {
	Kind Kind
	// Start is the address of a Fault, and where the memory of the others begins.
	Start uint64
	// End is where the memory of a Remap, Remove or Unmap ends.
	End uint64
	// To is where a Remap moves it.
	To uint64
	// Child is the descriptor that a Fork made in this process.
	Child FD
}

const eventSize = 32

// FD is the descriptor of one address space. It must stay open until nothing is
// missing there: who waits for memory when it is closed gets zeros.
type FD int

// Available returns an error where the kernel can't do all that this package
// asks of it, or won't for this process.
func Available() error {
	fd, err := open()
	if err != nil {
		return err
	}
	return fd.Close()
}

func open() (FD, error) {
	n, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return -1, fmt.Errorf("userfaultfd is not available: %w", errno)
	}
	fd := FD(n)
	if err := fd.request(requestAPI, unsafe.Pointer(&[3]uint64{api, features})); err != nil {
		return -1, errors.Join(fmt.Errorf("userfaultfd does not tell what happens to memory: %w", err), fd.Close())
	}
	return fd, nil
}

// register has accesses to missing pages of this process wait.
func (fd FD) register(start, length uint64) error {
	return fd.request(requestRegister, unsafe.Pointer(&[4]uint64{start, length, modeMissing}))
}

// Close lets go of the address space.
func (fd FD) Close() error { return unix.Close(int(fd)) }

// buffers spare a loading thousands of them.
var buffers = sync.Pool{New: func() any { return new([64 * eventSize]byte) }}

// Events appends what has happened, in order, to events. It waits for nothing.
func (fd FD) Events(events []Event) ([]Event, error) {
	buffer, _ := buffers.Get().(*[64 * eventSize]byte)
	defer buffers.Put(buffer)
	n, err := unix.Read(int(fd), buffer[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return events, nil
	}
	if err != nil {
		return events, fmt.Errorf("cannot read from userfaultfd: %w", err)
	}
	for message := range slices.Chunk(buffer[:n], eventSize) {
		events = append(events, parse(message))
	}
	return events, nil
}

func parse(message []byte) Event {
	e := Event{Kind: Kind(message[0])}
	first := binary.NativeEndian.Uint64(message[8:])
	second := binary.NativeEndian.Uint64(message[16:])
	switch e.Kind {
	case Fault:
		e.Start = second
	case Fork:
		e.Child = FD(binary.NativeEndian.Uint32(message[8:]))
	case Remap:
		e.Start, e.To = first, second
		e.End = first + binary.NativeEndian.Uint64(message[24:])
	default:
		e.Start, e.End = first, second
	}
	return e
}

// Copy puts a copy of pages at the address and wakes who waits for them. It
// returns how many bytes it has put there, also when it fails: with EAGAIN when
// Events has something that must be known before, EEXIST when there is a page
// already, ENOENT when there is no mapping, or not just one, that waits for
// memory, ESRCH when the process is gone.
func (fd FD) Copy(address uint64, pages []byte) (int, error) {
	argument := struct{ dst, src, length, mode, copied uint64 }{
		dst: address, src: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(pages)))), length: uint64(len(pages)),
	}
	err := fd.request(requestCopy, unsafe.Pointer(&argument))
	return done(argument.copied, err)
}

// Zero puts pages of zeros at the address; otherwise it is like Copy.
func (fd FD) Zero(address, length uint64) (int, error) {
	argument := struct{ start, length, mode, zeroed uint64 }{start: address, length: length}
	err := fd.request(requestZero, unsafe.Pointer(&argument))
	return done(argument.zeroed, err)
}

// done reads the result of a request, a number of bytes or a negative error. The
// kernel says EAGAIN for each success that is not complete.
func done(result uint64, err error) (int, error) {
	switch n := int64(result); {
	case err == nil || n > 0:
		return int(n), nil
	default:
		return 0, err
	}
}

// Wake has whoever waits for the pages look again.
func (fd FD) Wake(address, length uint64) error {
	return fd.request(requestWake, unsafe.Pointer(&[2]uint64{address, length}))
}

func (fd FD) request(number uintptr, argument unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), number, uintptr(argument))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}
