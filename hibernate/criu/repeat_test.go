package criu_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
)

// thorough reports whether all points are tried, instead of a few.
var thorough = os.Getenv("DORMOUSE_FAULTS") == "all"

// withNamesOutside are the objects for which a restore makes or removes names outside of the
// image.
var withNamesOutside = []string{
	"deleted-linked", "deleted-small", "deleted-sparse", "deleted-cwd", "deleted-in-tmp", "deleted-executable", "tmpfile", "shm",
	"unix-listener", "dgram-named",
}

// fragileCRIU is a CRIU that a test can kill a while after each of its starts.
type fragileCRIU struct {
	path string // of the program
	pids string // the file in which the program notes its PIDs
}

func newFragileCRIU(t *testing.T, working string) *fragileCRIU {
	t.Helper()
	dir := t.TempDir()
	f := &fragileCRIU{path: filepath.Join(dir, "criu"), pids: filepath.Join(dir, "pids")}
	must(t, os.WriteFile(f.pids, nil, 0o600))
	script := fmt.Sprintf("#!/bin/sh\necho $$ >>%q\nexec %q \"$@\"\n", f.pids, working)
	must(t, os.WriteFile(f.path, []byte(script), 0o700)) //nolint:gosec // it is a program
	return f
}

// startedPIDs returns the PID of each CRIU that was started so far.
func (f *fragileCRIU) startedPIDs() []string {
	text, _ := os.ReadFile(f.pids)
	return strings.Fields(string(text))
}

// killEach kills one CRIU after the other as they start, each a while after its start, until
// the delays are used up or stop is called.
func (f *fragileCRIU) killEach(delays []time.Duration) (stop func()) {
	number := len(f.startedPIDs())
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Microsecond)
		defer tick.Stop()
		for _, delay := range delays {
			for len(f.startedPIDs()) <= number {
				select {
				case <-tick.C:
				case <-stopped:
					return
				}
			}
			pid, _ := strconv.Atoi(f.startedPIDs()[number])
			number++
			select {
			case <-time.After(delay):
				_ = syscall.Kill(pid, syscall.SIGKILL)
			case <-stopped:
				return
			}
		}
	}()
	return func() { close(stopped); <-ended }
}

// A wake whose CRIU is killed again and again at any moment succeeds in the end, and leaves
// nothing behind.
func TestWakeAfterKilledRestores(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	sleeps := 2
	if thorough {
		sleeps = 30
	}
	for i, object := range withNamesOutside {
		t.Run(object, func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(seed, uint64(i)))
			fragile := newFragileCRIU(t, e.Path())
			engine := criu.Open(fragile.path, t.TempDir())
			must(t, engine.Check(t.Context()))
			h, said := startHolder(t, program, object)
			defer func() { h.end(t) }()
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			for range sleeps {
				sleepThroughKills(t, h, engine, fragile, dice)
				if said := h.check(); said != "ok" && object != "deleted-executable" || t.Failed() {
					t.Fatalf("after the wake it says %q", said)
				}
				h.close()
				h.Kill(t.Context())
				h, said = startHolder(t, program, object)
				if said != "ready" {
					t.Fatal(said)
				}
			}
		})
	}
}

// sleepThroughKills takes the program through a checkpoint, and a wake whose first attempts
// are killed.
func sleepThroughKills(t *testing.T, h *holder, e hibernate.Engine, fragile *fragileCRIU, dice *rand.Rand) {
	t.Helper()
	images := t.TempDir()
	store, err := hibernate.OpenStore(images)
	must(t, err)
	defer store.Close()
	before := listNames(t, h.dir)
	h.imageKeys = [2]string{}
	image, err := hibernate.Checkpoint(t.Context(), e, store.ImageDir("Objects"), h)
	must(t, err)
	delays := make([]time.Duration, 5) // more than one wake has attempts
	for i := range delays {
		delays[i] = time.Duration(dice.Int64N(int64(50 * time.Millisecond)))
	}
	started, failures := len(fragile.startedPIDs()), 0
	stop := fragile.killEach(delays)
	for attempt := 0; ; attempt++ {
		err := h.wake(t, e, image)
		if err == nil {
			break
		}
		failures++
		checkNoTraces(t, h.dir)
		if attempt == len(delays) {
			stop()
			t.Fatalf("it does not wake: %v", err)
		}
	}
	stop()
	t.Logf("%d wakes failed, CRIU was started %d times", failures, len(fragile.startedPIDs())-started)
	must(t, image.Discard())
	store.Close()
	if after := listNames(t, h.dir); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("there were %v, and are %v after %d failed wakes", before, after, failures)
	}
}

// listNames returns the paths of all that is in a directory.
func listNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	}))
	return names
}

// checkNoTraces checks that nothing in the directory has a name that CRIU has given.
func checkNoTraces(t *testing.T, dir string) {
	t.Helper()
	for _, path := range listNames(t, dir) {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "link_remap.") || strings.HasSuffix(name, ".cr_link") || strings.HasSuffix(name, ".ghost") || strings.HasSuffix(name, ".criu-sk-ghost") {
			t.Errorf("%s is left", path)
		}
	}
}

// wake restores the program from the image. It may be called again after an error.
func (h *holder) wake(t *testing.T, e hibernate.Engine, image *hibernate.Image) error {
	t.Helper()
	h.pipes(t)
	if h.imageKeys == [2]string{} {
		h.imageKeys = h.keys
	}
	defer h.closeTheirs()
	root, err := image.Restore(t.Context(), e, hibernate.WakeOptions{
		Cgroup:  h.cgroup,
		Files:   []hibernate.Inherited{{Key: h.imageKeys[0], File: h.theirs[0]}, {Key: h.imageKeys[1], File: h.theirs[1]}},
		Cleanup: func() error { return nil },
	})
	if err == nil {
		h.root = root
	}
	return err
}

// asleepIn takes a new program with the object, in the directory, through a checkpoint.
func asleepIn(t *testing.T, e hibernate.Engine, dir, program, object string) (*holder, *hibernate.Image) {
	t.Helper()
	h, said := startHolderIn(t, dir, program, object)
	t.Cleanup(func() { h.end(t) })
	if said != "ready" {
		t.Fatalf("it says %q before the sleep", said)
	}
	store, err := hibernate.OpenStore(t.TempDir())
	must(t, err)
	t.Cleanup(store.Close)
	image, err := hibernate.Checkpoint(t.Context(), e, store.ImageDir("Objects"), h)
	must(t, err)
	return h, image
}

// Plugins with the same directory do not disturb each other's files without names: CRIU gives
// the links of all of them the same numbers.
func TestLinksInOneDirectory(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	dir := t.TempDir()
	var all []*holder
	var images []*hibernate.Image
	for i := range 3 {
		h, image := asleepIn(t, e, dir, program, "deleted-linked")
		all, images = append(all, h), append(images, image)
		must(t, os.Rename(filepath.Join(dir, "g"), filepath.Join(dir, fmt.Sprint("g", i))))
	}
	checkNoTraces(t, dir)
	woken := make(chan error)
	for i, h := range all {
		go func() { woken <- h.wake(t, e, images[i]) }()
	}
	for range all {
		must(t, <-woken)
	}
	for _, h := range all {
		if said := h.check(); said != "ok" {
			t.Errorf("it says %q", said)
		}
	}
	if names := listNames(t, dir); len(names) != 4 { // the directory, and one file of each
		t.Errorf("there are %v", names)
	}
}

// A wake takes no address from another process. It succeeds when the address is free.
func TestSocketTakenWhileAsleep(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for name, take := range map[string]func(t *testing.T, path string) (release func()){
		"by a process": func(t *testing.T, path string) func() {
			t.Helper()
			must(t, os.Remove(path))
			l, err := net.Listen("unix", path)
			must(t, err)
			return func() { must(t, l.Close()) }
		},
		"by a file": func(t *testing.T, path string) func() {
			t.Helper()
			must(t, os.Remove(path))
			must(t, os.WriteFile(path, []byte("precious"), 0o600))
			return func() { must(t, os.Remove(path)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, image := asleepIn(t, e, t.TempDir(), program, "unix-listener")
			path := socketIn(t, h.dir)
			release := take(t, path)
			before, err := os.Lstat(path)
			must(t, err)
			err = h.wake(t, e, image)
			if err == nil || !strings.Contains(err.Error(), "is taken") || hibernate.ClassifyFailure(err) != hibernate.Passing {
				t.Errorf("got %v", err)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("what took the address is gone: %v", err)
			}
			release()
			must(t, h.wake(t, e, image))
			if said := h.check(); said != "ok" {
				t.Errorf("it says %q", said)
			}
		})
	}
}

// socketIn returns the path of the socket in the directory.
func socketIn(t *testing.T, dir string) string {
	t.Helper()
	for _, path := range listNames(t, dir) {
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return path
		}
	}
	t.Fatal("there is no socket")
	return ""
}

// A dump whose CRIU is killed at any moment leaves no links, and the next dump succeeds.
func TestKilledDumpLeavesNoLinks(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0))
	kills := 4
	if thorough {
		kills = 60
	}
	for range kills {
		fragile := newFragileCRIU(t, e.Path())
		engine := criu.Open(fragile.path, t.TempDir())
		must(t, engine.Check(t.Context()))
		h, said := startHolder(t, program, "deleted-linked")
		if said != "ready" {
			t.Fatalf("it says %q before the sleep", said)
		}
		before := listNames(t, h.dir)
		store, err := hibernate.OpenStore(t.TempDir())
		must(t, err)
		stop := fragile.killEach([]time.Duration{time.Duration(dice.Int64N(int64(40 * time.Millisecond)))})
		image, err := hibernate.Checkpoint(t.Context(), engine, store.ImageDir("Objects"), h)
		stop()
		if err != nil {
			// CRIU's code in the tree may be at work a little longer than CRIU.
			var after []string
			for late := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
				after = listNames(t, h.dir)
				if slices.Equal(before, after) || time.Now().After(late) {
					break
				}
			}
			if !slices.Equal(before, after) {
				t.Errorf("there were %v, and are %v", before, after)
			}
			image, err = hibernate.Checkpoint(t.Context(), engine, store.ImageDir("Objects"), h)
			if err != nil && h.endsSoon() { // CRIU worked inside the program when it was killed, and took it along
				h.end(t)
				store.Close()
				continue
			}
			must(t, err)
		}
		h.imageKeys = [2]string{}
		must(t, h.wake(t, engine, image))
		if said := h.check(); said != "ok" {
			t.Errorf("it says %q", said)
		}
		h.end(t)
		store.Close()
	}
}
