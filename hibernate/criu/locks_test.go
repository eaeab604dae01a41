package criu_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
)

// lockObjects are the objects with a lock of the file "lock", with what another process tries
// to take it by.
var lockObjects = map[string]func(fd uintptr) error{
	"flock": func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) },
	"posix-lock": func(fd uintptr) error {
		return unix.FcntlFlock(fd, unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 5, Len: 1})
	},
	"ofd-lock": func(fd uintptr) error {
		return unix.FcntlFlock(fd, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: 0, Len: 0})
	},
}

// No other process can take a lock that a sleeping plugin holds.
func TestLocksAsleep(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for object, take := range lockObjects {
		t.Run(object, func(t *testing.T) {
			h, said := startHolder(t, program, object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			h.asleep = func() {
				if err := h.tryLock(t, take); !errors.Is(err, unix.EAGAIN) {
					t.Errorf("another process took the lock: %v", err)
				}
			}
			for range 3 {
				must(t, h.sleep(t, e))
			}
			if said := h.check(); said != "ok" {
				t.Errorf("the program says %q", said)
			}
		})
	}
}

// A lock that another process has taken while no host ran is named at the wake. The image
// can be woken when the lock is free.
func TestLockTakenAsleep(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for object, take := range lockObjects {
		t.Run(object, func(t *testing.T) {
			h, said := startHolder(t, program, object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			path := filepath.Join(h.dir, "lock")
			other, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer other.Close()
			h.asleep = func() {
				h.store.Close()
				must(t, take(other.Fd()))
			}
			err = h.sleep(t, e)
			want := fmt.Sprintf("another process holds the lock of %s: ", path)
			if err == nil || !strings.Contains(err.Error(), want) || hibernate.ClassifyFailure(err) != hibernate.Passing {
				t.Errorf("error %v, want one that passes, with %q", err, want)
			}
		})
	}
}

// A lock ends with the image that is given up, so that a plugin that starts cold can take it.
func TestLockOfDiscardedImage(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for name, giveUp := range map[string]func(*hibernate.Image, *hibernate.ImageDir) error{
		"deleted":     func(i *hibernate.Image, _ *hibernate.ImageDir) error { return i.InvalidateAndDelete() },
		"put aside":   func(_ *hibernate.Image, d *hibernate.ImageDir) error { _, err := d.PutAside(); return err },
		"quarantined": func(_ *hibernate.Image, d *hibernate.ImageDir) error { _, err := d.Quarantine(); return err },
		"removed":     func(_ *hibernate.Image, d *hibernate.ImageDir) error { return d.RemoveAll() },
	} {
		t.Run(name, func(t *testing.T) {
			h, said := startHolder(t, program, "flock")
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			store, err := hibernate.OpenStore(filepath.Join(h.dir, "images"))
			must(t, err)
			defer store.Close()
			dir := store.ImageDir("Objects")
			image, err := hibernate.Checkpoint(t.Context(), e, dir, h)
			must(t, err)
			if err := h.tryLock(t, lockObjects["flock"]); !errors.Is(err, unix.EAGAIN) {
				t.Errorf("another process took the lock: %v", err)
			}
			must(t, giveUp(image, dir))
			must(t, h.tryLock(t, lockObjects["flock"]))
		})
	}
}

// tryLock opens the file of the lock, tries to take the lock, and closes the file.
func (h *holder) tryLock(t *testing.T, take func(fd uintptr) error) error {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(h.dir, "lock"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	return take(f.Fd())
}
