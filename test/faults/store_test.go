package faults

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/store"
)

// A host that is killed at any step of putting a new store in the place of a damaged one is
// followed by one that has all records, and the damaged file is kept.
func TestKilledWhileRebuildingTheStore(t *testing.T) {
	for n, point := range []string{"store.made", "store.kept", "store.logkept", "store.renamed"} {
		if !thorough && n%2 == 0 {
			continue
		}
		t.Run(point, func(t *testing.T) {
			s := newSite(t, "", counter())
			h := s.start("")
			h.settled()
			h.must("Controller.clone", map[string]string{"callsign": "Counter", "newcallsign": "Clone"}, nil)
			h.end()
			path := filepath.Join(s.root, "store.db")
			damaged, err := os.ReadFile(path)
			must(t, err)
			clear(damaged[4096:8192])
			write(t, path, damaged)

			s.start(point).killed()
			h = s.start("")
			h.settled()
			if r := s.inspect(); r.of("Clone").State == "" {
				t.Errorf("the clone is gone, there is %+v; the log is:\n%s", r.Instances, h.log.String())
			}
			h.end()
			kept, err := filepath.Glob(path + ".damaged-????????T??????")
			if err != nil || len(kept) != 1 {
				t.Fatalf("kept are %q, %v", kept, err)
			}
			if text, err := os.ReadFile(kept[0]); !bytes.Equal(text, damaged) || err != nil {
				t.Errorf("the damaged store was changed (%v)", err)
			}
			for _, suffix := range []string{"-new", "-damaged"} {
				if _, err := os.Lstat(path + suffix); !os.IsNotExist(err) {
					t.Errorf("%s is left (%v)", suffix, err)
				}
			}
		})
	}
}

// ledger notes what a store has acknowledged.
type ledger struct {
	mu   sync.Mutex
	acks map[string]int
	err  error // the first
}

// putUntilError puts ever higher numbers from several goroutines until all have failed.
func putUntilError(s *store.Store, puts int, cut func()) *ledger {
	l := &ledger{acks: make(map[string]int)}
	var all sync.WaitGroup
	var once sync.Once
	for w := range 8 {
		all.Go(func() {
			key := fmt.Sprint("writer", w)
			for n := 1; ; n++ {
				if n == puts {
					once.Do(cut)
				}
				err := store.BucketOf[int](s, "numbers").Put(key, n)
				l.mu.Lock()
				if err == nil {
					l.acks[key] = n
				} else if l.err == nil {
					l.err = err
				}
				l.mu.Unlock()
				if err != nil || n > 100*puts {
					return
				}
			}
		})
	}
	all.Wait()
	return l
}

// verify fails the test if the store lacks what was acknowledged, or has more than one put
// after it.
func (l *ledger) verify(t *testing.T, s *store.Store) {
	t.Helper()
	all, err := store.BucketOf[int](s, "numbers").All()
	must(t, err)
	for key, acked := range l.acks {
		if got := all[key]; got < acked || got > acked+1 {
			t.Errorf("%s has %d, and %d was acknowledged", key, got, acked)
		}
	}
}

// After a power cut the store has all that was acknowledged.
func TestStoreAfterPowerCut(t *testing.T) {
	cuts := 3
	if thorough {
		cuts = 25
	}
	for cut := range cuts {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
			d := &disk{t, file}
			write(t, file, nil)
			must(t, os.Truncate(file, diskSize))
			d.run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", file)
			d.mountAt(dir)
			s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
			must(t, err)
			l := putUntilError(s, 5+3*cut, func() {
				// Between two commits: ext4 lets a sync succeed that its shutdown overtakes.
				_ = s.Update(t.Context(), func(*store.Tx) error { cutPower(t, dir); return nil })
			})
			if l.err == nil || len(l.acks) == 0 {
				t.Errorf("acknowledged were %v, then %v", l.acks, l.err)
			}
			_ = s.Close() // what it says of the disk does not matter

			after, again := &disk{t, file + "-after"}, t.TempDir()
			d.run("cp", "--sparse=always", file, after.file) // as the disk is now, and mounted by nothing else
			after.mountAt(again)
			s, err = store.Open(filepath.Join(again, "store.db"), store.Options{Told: func(message string) { t.Error(message) }})
			must(t, err)
			l.verify(t, s)
			must(t, s.Close())
		})
	}
}

// mountAt mounts the disk at dir until the end of the test.
func (d *disk) mountAt(dir string) {
	d.t.Helper()
	device := strings.TrimSpace(d.run("losetup", "--find", "--show", d.file))
	d.t.Cleanup(func() { d.run("losetup", "--detach", device) })
	mount(d.t, device, dir, "ext4", "")
}

// cutPower has the file system forget all that is not on its disk, and fail from now on.
func cutPower(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	const shutdown, withoutLog = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	how := uint32(withoutLog)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		t.Error(errno)
	}
}

// A disk that breaks in the middle is an error of each change, and no crash.
func TestStoreOnBrokenDisk(t *testing.T) {
	dir := t.TempDir()
	d := memoryDisk(t, dir)
	s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
	must(t, err)
	defer func() { _ = s.Close() }()
	l := putUntilError(s, 20, d.fail)
	if _, is := errors.AsType[syscall.Errno](l.err); !is {
		t.Errorf("a put on a broken disk says %v", l.err)
	}
	l.verify(t, s)
}

// isLogIndexUsed reports whether a connection to the store at path uses the index of its log: each
// has a lock at byte 128 of it, see https://sqlite.org/walformat.html#locking_matrix.
func isLogIndexUsed(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	must(t, err)
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: 128, Len: 1}
	must(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock))
	return lock.Type != unix.F_UNLCK
}

// A full disk is an error of each change until there is room, whether it becomes full while the
// store is open or before; what is there can be read meanwhile.
func TestStoreOnFullDisk(t *testing.T) {
	for name, disk := range map[string]func(t *testing.T, dir string){
		"tmpfs": small,
		"ext4":  func(t *testing.T, dir string) { t.Helper(); memoryDisk(t, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk(t, dir)
			path, ballast := filepath.Join(dir, "store.db"), filepath.Join(dir, "ballast")
			s, err := store.Open(path, store.Options{})
			must(t, err)
			texts := store.BucketOf[string](s, "texts")
			must(t, texts.Put("first", "text"))
			fill(t, ballast, 0)
			refused := func(when string) {
				t.Helper()
				if err := texts.Put("second", strings.Repeat("text", 100_000)); !atomicfile.IsNoRoom(err) {
					t.Errorf("a put %s says %v", when, err)
				}
			}
			stays := func(when string) {
				t.Helper()
				if got, found, err := texts.Get("first"); got != "text" || !found || err != nil {
					t.Errorf("%s the first is %q, %v, %v", when, got, found, err)
				}
			}
			refused("while the disk is full")
			if !isLogIndexUsed(t, path) {
				t.Error("the next connection makes the index of the log anew, for which there may be no room")
			}
			stays("while the disk is full")
			must(t, s.Close())
			s, err = store.Open(path, store.Options{})
			must(t, err)
			texts = store.BucketOf[string](s, "texts")
			refused("opened on a full disk")
			stays("opened on a full disk")
			must(t, os.Remove(ballast))
			must(t, texts.Put("second", "text"))
			if all, err := texts.All(); len(all) != 2 || err != nil {
				t.Errorf("with room there are %v, %v", all, err)
			}
			must(t, s.Close())
		})
	}
}
