// Package uffd fills the memory of other processes when they touch it, see
// userfaultfd(2). It does not know where the contents come from.
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

// From linux/userfaultfd.h. The request numbers contain the sizes of their arguments and
// are the same on all 64-bit processors.
const (
	api = 0xaa

	requestAPI  = 0xc018aa3f
	requestWake = 0x8010aa02
	requestCopy = 0xc028aa03
	requestZero = 0xc020aa04

	featureFork   = 1 << 1
	featureRemap  = 1 << 2
	featureRemove = 1 << 3
	featureUnmap  = 1 << 6
)

// wantedFeatures make the kernel report everything that moves or removes memory.
const wantedFeatures = featureFork | featureRemap | featureRemove | featureUnmap

// Kind is the kind of an Event.
type Kind uint8

// A Fault is a thread that waits for a page. At a Fork the child gets an FD of its own. A
// Remap is an mremap(2) that moves memory, a Remove an madvise(2) that empties it, and an
// Unmap removes the mapping as well.
const (
	Fault  Kind = 0x12
	Fork   Kind = 0x13
	Remap  Kind = 0x14
	Remove Kind = 0x15
	Unmap  Kind = 0x16
)

// Event is something that a process does with the memory of an FD.
type Event struct {
	Kind Kind
	// Start is the address of a Fault, or the first address of a Remap, Remove or Unmap.
	Start uint64
	// End is the address after the last of a Remap, Remove or Unmap.
	End uint64
	// To is the address to which a Remap moves the memory.
	To uint64
	// Child is the descriptor of a forked child's address space.
	Child FD
}

const eventSize = 32

// FD is a userfaultfd, the descriptor of one address space. It must stay open until no
// memory is missing there: a thread that touches missing memory after the last copy of
// the FD is closed reads zeros.
type FD int

// CheckSupport returns an error if the kernel lacks a feature that this package needs, or
// refuses userfaultfd to this process.
func CheckSupport() error {
	fd, err := openForThisProcess()
	if err != nil {
		return err
	}
	return fd.Close()
}

// openForThisProcess returns an FD for the memory of this process.
func openForThisProcess() (FD, error) {
	n, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK, 0, 0)
	if errno != 0 {
		return -1, fmt.Errorf("userfaultfd is not available: %w", errno)
	}
	fd := FD(n)
	if err := fd.ioctl(requestAPI, unsafe.Pointer(&[3]uint64{api, wantedFeatures})); err != nil {
		return -1, errors.Join(fmt.Errorf("userfaultfd does not report what happens to memory: %w", err), fd.Close())
	}
	return fd, nil
}

// Close closes the descriptor, see FD.
func (fd FD) Close() error { return unix.Close(int(fd)) }

// eventBuffers avoid an allocation for each call of Events.
var eventBuffers = sync.Pool{New: func() any { return new([64 * eventSize]byte) }}

// Events appends events that happened since the last call to events, in their order, at most
// 64 in one call. It does not wait for any.
func (fd FD) Events(events []Event) ([]Event, error) {
	buffer, _ := eventBuffers.Get().(*[64 * eventSize]byte)
	defer eventBuffers.Put(buffer)
	n, err := unix.Read(int(fd), buffer[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return events, nil
	}
	if err != nil {
		return events, fmt.Errorf("cannot read from userfaultfd: %w", err)
	}
	for message := range slices.Chunk(buffer[:n], eventSize) {
		events = append(events, parseEvent(message))
	}
	return events, nil
}

// parseEvent parses a struct uffd_msg of linux/userfaultfd.h.
func parseEvent(message []byte) Event {
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

// Copy copies pages to the address and wakes the threads that wait for them. It returns
// how many bytes it has copied, which may be fewer than asked for without an error. The
// error is EAGAIN if the caller must read Events first, EEXIST if the page is filled
// already, ENOENT if the range is not within one registered mapping, and ESRCH if the
// process has ended.
func (fd FD) Copy(address uint64, pages []byte) (copied int, _ error) {
	argument := struct{ dst, src, length, mode, copied uint64 }{
		dst: address, src: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(pages)))), length: uint64(len(pages)),
	}
	err := fd.ioctl(requestCopy, unsafe.Pointer(&argument))
	return filledBytesOrError(argument.copied, err)
}

// Zero is like Copy, but fills the range with zeros.
func (fd FD) Zero(address, length uint64) (zeroed int, _ error) {
	argument := struct{ start, length, mode, zeroed uint64 }{start: address, length: length}
	err := fd.ioctl(requestZero, unsafe.Pointer(&argument))
	return filledBytesOrError(argument.zeroed, err)
}

// filledBytesOrError returns the number of filled bytes, which is the result of a
// request, and drops requestError if that is positive: the kernel returns EAGAIN even if
// it has filled a part.
func filledBytesOrError(result uint64, requestError error) (int, error) {
	if n := int64(result); requestError == nil || n > 0 {
		return int(n), nil
	}
	return 0, requestError
}

// Wake wakes the threads that wait for pages in the range. Each touches its page again.
func (fd FD) Wake(address, length uint64) error {
	return fd.ioctl(requestWake, unsafe.Pointer(&[2]uint64{address, length}))
}

// ioctl makes a userfaultfd request by ioctl(2), again after a signal. The error is an errno.
func (fd FD) ioctl(number uintptr, argument unsafe.Pointer) error {
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
