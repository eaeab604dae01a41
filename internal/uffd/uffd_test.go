package uffd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const page = 4096

// register makes threads of this process wait when they touch missing pages there.
func (fd FD) register(start, length uint64) error {
	const requestRegister, modeMissing = 0xc020aa00, 1 // from linux/userfaultfd.h
	return fd.ioctl(requestRegister, unsafe.Pointer(&[4]uint64{start, length, modeMissing}))
}

// mapRegistered maps pages of which each thread waits for the contents.
func mapRegistered(t *testing.T, pages int) (FD, []byte, uint64) {
	t.Helper()
	if err := CheckSupport(); err != nil {
		if os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1" {
			t.Fatal(err) // lazy wakes would go untested
		}
		t.Skip(err)
	}
	fd, err := openForThisProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fd.Close(); err != nil {
			t.Error(err)
		}
	})
	memory, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	address := uint64(uintptr(unsafe.Pointer(&memory[0])))
	if err := fd.register(address, uint64(len(memory))); err != nil {
		t.Fatal(err)
	}
	return fd, memory, address
}

func TestPagesAreFilledWhenTouched(t *testing.T) {
	fd, memory, address := mapRegistered(t, 4)
	touched := make(chan byte)
	go func() {
		b := memory[page+7] // here, and not when it is received
		touched <- b
	}()
	want := []Event{{Kind: Fault, Start: address + page}}
	got := readEvents(t, fd, 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	n, err := fd.Copy(address+page, bytes.Repeat([]byte{42}, page))
	if n != page || err != nil {
		t.Errorf("copied %d bytes: %v", n, err)
	}
	if b := <-touched; b != 42 {
		t.Errorf("it reads %d", b)
	}
	if n, err := fd.Zero(address, page); n != page || err != nil {
		t.Errorf("zeroed %d bytes: %v", n, err)
	}
	if memory[0] != 0 {
		t.Errorf("it reads %d", memory[0])
	}
	// What is there stays.
	if n, err := fd.Copy(address, memory[page:2*page]); n != 0 || !errors.Is(err, unix.EEXIST) {
		t.Errorf("copied %d bytes: %v", n, err)
	}
	// Half of it is possible.
	n, err = fd.Copy(address+2*page, make([]byte, 4*page))
	if n != 0 || !errors.Is(err, unix.ENOENT) {
		t.Errorf("copied %d bytes past the end: %v", n, err)
	}
	if _, err := fd.Zero(address+3*page, page); err != nil {
		t.Error(err)
	}
	if n, err := fd.Copy(address+2*page, make([]byte, 2*page)); n != page || err != nil {
		t.Errorf("copied %d bytes up to what is there: %v", n, err)
	}
}

// Events have the order in which they happened, also when several threads wait for
// theirs to be read.
func TestEventsComeInOrder(t *testing.T) {
	fd, memory, address := mapRegistered(t, 16)
	var want []Event
	ended := make(chan error)
	for i := range 5 {
		at := uintptr(unsafe.Pointer(&memory[2*i*page]))
		tid := make(chan int)
		go func() {
			runtime.LockOSThread() // never unlocked, so the thread ends
			tid <- unix.Gettid()
			_, _, errno := unix.Syscall(unix.SYS_MUNMAP, at, page, 0)
			ended <- errorOf(errno)
		}()
		awaitBlocked(t, <-tid)
		want = append(want, Event{Kind: Unmap, Start: address + uint64(2*i*page), End: address + uint64((2*i+1)*page)})
	}
	if n, err := fd.Copy(address+page, memory[:0:0]); n != 0 || err == nil {
		t.Errorf("copied %d bytes: %v", n, err)
	}
	if _, err := fd.Zero(address+page, page); !errors.Is(err, unix.EAGAIN) {
		t.Errorf("memory was filled before the events were read: %v", err)
	}
	if diff := cmp.Diff(want, readEvents(t, fd, 5)); diff != "" {
		t.Error(diff)
	}
	for range 5 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestMovedAndEmptied(t *testing.T) {
	fd, memory, address := mapRegistered(t, 8)
	to, err := unix.Mmap(-1, 0, 2*page, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	target := uintptr(unsafe.Pointer(&to[0]))
	ended := make(chan error)
	go func() {
		_, _, errno := unix.Syscall6(unix.SYS_MREMAP, uintptr(address), 2*page, 2*page, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, target, 0)
		ended <- errorOf(errno)
	}()
	events := readEvents(t, fd, 2)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go func() { ended <- unix.Madvise(memory[4*page:6*page], unix.MADV_DONTNEED) }()
	events = append(events, readEvents(t, fd, 1)...)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	want := []Event{
		{Kind: Remap, Start: address, End: address + 2*page, To: uint64(target)},
		{Kind: Unmap, Start: address, End: address + 2*page}, // the old place
		{Kind: Remove, Start: address + 4*page, End: address + 6*page},
	}
	if diff := cmp.Diff(want, events); diff != "" {
		t.Error(diff)
	}
}

func errorOf(errno unix.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// readEvents returns n events.
func readEvents(t *testing.T, fd FD, n int) []Event {
	t.Helper()
	var events []Event
	for deadline := time.Now().Add(10 * time.Second); len(events) < n; {
		if time.Now().After(deadline) {
			t.Fatalf("of %d events came %v", n, events)
		}
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
		var err error
		if events, err = fd.Events(events); err != nil {
			t.Fatal(err)
		}
	}
	return events
}

// awaitBlocked returns when the thread waits in the kernel for its event to be read.
func awaitBlocked(t *testing.T, tid int) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); ; <-tick.C {
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/stat", tid))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(") D ")) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("thread %d does not wait: %s", tid, text)
		}
	}
}
