package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/hibernatetest"
)

// mount mounts a file system at dir until the end of the test.
func mount(t *testing.T, source, dir, kind, options string) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	if err := unix.Mount(source, dir, kind, 0, options); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("cannot mount a small disk: %w", err))
	}
	t.Cleanup(func() { // a process that still uses it has failed the test already
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// small makes a tmpfs that is soon full.
func small(t *testing.T, dir string) {
	t.Helper()
	mount(t, "tmpfs", dir, "tmpfs", "size=64m,mode=0700")
}

// disk is a file system on a loop device, whose file can be spoilt.
type disk struct {
	t    *testing.T
	file string
}

const diskSize = 64 << 20

// newDisk mounts at dir a disk whose file is to hold it.
func newDisk(t *testing.T, dir, file string) *disk {
	t.Helper()
	d := &disk{t, file}
	must(t, os.Truncate(file, diskSize))
	// Without a journal an error hits the writer, and not the whole file system.
	d.run("mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-E", "lazy_itable_init=0,nodiscard", file)
	device := strings.TrimSpace(d.run("losetup", "--find", "--show", file))
	t.Cleanup(func() { d.run("losetup", "--detach", device) })
	mount(t, device, dir, "ext4", "errors=continue")
	return d
}

// thinDisk has less room than it seems to have: when the ballast fills what its
// file lies on, syncs fail.
func thinDisk(t *testing.T, dir string) (ballast string) {
	t.Helper()
	under := t.TempDir()
	mount(t, "tmpfs", under, "tmpfs", "size=96m")
	file := filepath.Join(under, "file")
	write(t, file, nil)
	newDisk(t, dir, file)
	return filepath.Join(under, "ballast")
}

// memoryDisk can break in any way, for ever.
func memoryDisk(t *testing.T, dir string) *disk {
	t.Helper()
	fd, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	return newDisk(t, dir, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd))
}

// fail has every write come to an error.
func (d *disk) fail() {
	d.t.Helper()
	fd, err := strconv.Atoi(filepath.Base(d.file))
	must(d.t, err)
	_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE)
	must(d.t, err)
}

func (d *disk) run(name string, args ...string) string {
	d.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		hibernatetest.SkipOrFail(d.t, fmt.Errorf("%s: %w: %s", name, err, out))
	}
	return string(out)
}

// fill writes to ballast until its file system has only leave bytes free.
func fill(t *testing.T, ballast string, leave int64) {
	t.Helper()
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer f.Close()
	for _, size := range []int{1 << 20, 4096} { // to the last block
		for block := make([]byte, size); err == nil; {
			_, err = f.Write(block)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Error(err)
		}
		err = nil
	}
	info, err := f.Stat()
	if err == nil {
		err = f.Truncate(info.Size() - leave)
	}
	if err != nil {
		t.Error(err)
	}
}

// noReserve has the host use a disk to the last block.
const noReserve = "[hibernate]\nreserve = \"0\"\n"

// awake fails the test unless the counter counts from want, and has no image.
func awake(t *testing.T, s *site, h *host, want int) {
	t.Helper()
	if got := h.count().Value; got != want {
		t.Errorf("it counts from %d, want %d; the host's log is:\n%s", got, want, h.log.String())
	}
	audit(t, s, h, "active")
}

// Without room no image is made, whether the host sees that before the dump or CRIU in
// the middle of it; with room one is made.
func TestDiskFull(t *testing.T) {
	needCRIU(t)
	s := newSite(t, "")
	small(t, s.images)
	ballast := filepath.Join(s.images, "ballast")
	// While there is an intruder, it takes most of what is left when CRIU begins.
	dir := t.TempDir()
	wrapper, intruder := filepath.Join(dir, "criu"), filepath.Join(dir, "intruder")
	script := fmt.Sprintf("#!/bin/sh\n[ ! -e %s ] || head -c 24M /dev/zero >>%s\nexec %s \"$@\"\n", intruder, ballast, realCRIU(t))
	write(t, wrapper, []byte(script))
	must(t, os.Chmod(wrapper, 0o700))
	s.configure(noReserve+fmt.Sprintf("criu = %q\n", wrapper), counter())
	h := s.start("")
	h.settled()
	h.must("Counter.fill", map[string]any{"mib": 16}, nil)
	h.must("Counter.increment", nil, nil)
	for _, leave := range []int64{0, 4 << 20} {
		fill(t, ballast, leave)
		h.refuses("Controller.hibernate", "not enough space")
		awake(t, s, h, begin+1)
		must(t, os.Remove(ballast))
	}
	fill(t, ballast, 32<<20)
	write(t, intruder, nil)
	h.refuses("Controller.hibernate", "space")
	must(t, os.Remove(intruder))
	awake(t, s, h, begin+1)
	must(t, os.Remove(ballast))
	again(t, s, h, begin+1)
}

// A wake needs no room, and what follows neither.
func TestWakeOnFullDisk(t *testing.T) {
	needCRIU(t)
	for name, mount := range map[string]func(t *testing.T, dir string){
		"tmpfs": small,
		"ext4":  func(t *testing.T, dir string) { t.Helper(); memoryDisk(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, noReserve, counter())
			mount(t, s.images)
			h := s.start("")
			h.settled()
			h.must("Counter.increment", nil, nil)
			h.hibernate("Counter")
			ballast := filepath.Join(s.images, "ballast")
			fill(t, ballast, 0)
			h.must("Controller.activate", callsign, nil)
			awake(t, s, h, begin+1)
			must(t, os.Remove(ballast))
			again(t, s, h, begin+1)
		})
	}
}

// An image that does not reach its disk does not count: the sync of the checkpoint fails,
// and the plugin runs on.
func TestDiskFailsToWrite(t *testing.T) {
	needCRIU(t)
	for _, stored := range []string{"plain", "encrypted"} {
		for _, reason := range []string{"no space left on device", "input/output error"} {
			t.Run(stored+"/"+reason, func(t *testing.T) {
				s := newSite(t, storedAs(t, stored, noReserve), counter())
				var ballast string
				spoil := func() { fill(t, ballast, 0) }
				if reason == "input/output error" {
					spoil = memoryDisk(t, s.images).fail
				} else {
					ballast = thinDisk(t, s.images)
				}
				h := s.start("")
				h.settled()
				h.hibernate("Counter") // the disk has its first blocks
				h.must("Controller.activate", callsign, nil)
				h.must("Counter.increment", nil, nil)
				h.must("Counter.fill", map[string]any{"mib": 16}, nil)
				spoil()
				h.refuses("Controller.hibernate", reason)
				awake(t, s, h, begin+1)
				if ballast != "" {
					must(t, os.Remove(ballast))
					again(t, s, h, begin+1)
					return
				}
				h.end()
				audit(t, s, nil, "")
			})
		}
	}
}

// A wake that can't be noted on the disk can't be, since the image could be woken twice: the
// plugin sleeps on.
func TestDiskFailsAtWake(t *testing.T) {
	needCRIU(t)
	s := newSite(t, noReserve, counter())
	d := memoryDisk(t, s.images)
	h := s.start("")
	h.settled()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	d.fail()
	h.refuses("Controller.activate", "cannot mark the image as used")
	audit(t, s, h, "hibernated")
	h.end()
	s.inspect()
}

// Of an image that can't be read the plugin sleeps on, with the reason; one that reads as
// zeros is quarantined.
func TestDiskFailsToRead(t *testing.T) {
	needCRIU(t)
	for _, wake := range []string{"eager", "lazy"} {
		for reason, size := range map[string]int64{"input/output error": 0, "is damaged": diskSize} {
			t.Run(wake+"/"+strings.ReplaceAll(reason, " ", "-"), func(t *testing.T) {
				s := newSite(t, noReserve, counter(fmt.Sprintf("wake = %q", wake)))
				d := memoryDisk(t, s.images)
				h := s.start("")
				h.settled()
				h.must("Counter.increment", nil, nil)
				h.hibernate("Counter")
				d.lose(s.image("Counter"), size)
				err := h.ask("Controller.activate", callsign, nil)
				var st status
				until(t, "the damage to be noticed", func() bool {
					st = h.status()
					return strings.Contains(fmt.Sprint(st.History), reason)
				})
				if size == 0 {
					if err == nil || st.State != "hibernated" && wake == "eager" {
						t.Errorf("got %v, it is %+v", err, st)
					}
					return
				}
				if st.State == "deactivated" { // the lazy one
					h.must("Controller.activate", callsign, nil)
				}
				if got := h.count().Value; got != begin {
					t.Errorf("it counts from %d", got)
				}
				s.inspect()
				h.end()
				s.inspect()
			})
		}
	}
}

// lose forgets what the disk holds; the files in dir are read from it again.
func (d *disk) lose(dir string, size int64) {
	d.t.Helper()
	entries, err := os.ReadDir(dir)
	must(d.t, err)
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		must(d.t, err)
		must(d.t, unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED))
		must(d.t, f.Close())
	}
	must(d.t, os.Truncate(d.file, 0))
	must(d.t, os.Truncate(d.file, size))
}

// What was promised is kept, what can't be stored is refused, and the host serves
// on: whether its root is full or broken.
func TestStoreWithoutRoom(t *testing.T) {
	needCRIU(t)
	clone := map[string]string{"callsign": "Counter", "newcallsign": "Clone"}
	for name, disk := range map[string]func(t *testing.T, dir string) (ballast string){
		"full": func(t *testing.T, dir string) string { t.Helper(); small(t, dir); return filepath.Join(dir, "ballast") },
		"thin": thinDisk,
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, noReserve, counter())
			ballast := disk(t, s.root)
			h := s.start("")
			h.settled()
			h.tried()
			h.hibernate("Counter") // the disk has its first blocks
			h.must("Controller.activate", callsign, nil)
			h.must("Counter.increment", nil, nil)
			fill(t, ballast, 0)
			promised := h.ask("Controller.clone", clone, nil) == nil
			h.refuses("Controller.hibernate", "space")
			awake(t, s, h, begin+1)
			must(t, os.Remove(ballast))
			h.end()
			h = s.start("")
			h.settled()
			if r := s.inspect(); (r.of("Clone").State != "") != promised {
				t.Errorf("promised: %v, there is %+v", promised, r.Instances)
			}
			again(t, s, h, begin)
		})
	}
	t.Run("broken", func(t *testing.T) {
		s := newSite(t, noReserve, counter())
		d := memoryDisk(t, s.root)
		h := s.start("")
		h.settled()
		h.tried()
		h.must("Counter.increment", nil, nil)
		d.fail()
		if err := h.ask("Controller.clone", clone, nil); err == nil {
			t.Error("there is a clone that is not on disk")
		}
		h.refuses("Controller.hibernate", "input/output error")
		awake(t, s, h, begin+1)
		h.end()
		s.inspect()
	})
}

// A host that can't begin to wake a plugin has it sleep on.
func TestWakeWithoutRoom(t *testing.T) {
	needCRIU(t)
	s := newSite(t, noReserve, counter())
	small(t, s.root)
	h := s.start("")
	h.ready()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	ballast := filepath.Join(s.root, "ballast")
	fill(t, ballast, 0)
	h.refuses("Controller.activate", "no space left on device")
	audit(t, s, h, "hibernated")
	must(t, os.Remove(ballast))
	h.wakeInTime("Counter")
	awake(t, s, h, begin+1)
	again(t, s, h, begin+1)
}

// refuses makes a call about the counter that must fail with the reason.
func (h *host) refuses(method, reason string) {
	h.t.Helper()
	err := h.ask(method, callsign, nil)
	if err == nil || !strings.Contains(err.Error(), reason) {
		h.t.Errorf("%s: got %v, want %q; the host's log is:\n%s", method, err, reason, h.log.String())
	}
}
