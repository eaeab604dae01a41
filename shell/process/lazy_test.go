package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// lazyCounter is the counter's configuration that has it woken before its memory is
// read.
func lazyCounter() configs.Plugin {
	c := counter()
	c.Wake = configs.WakeLazy
	return c
}

// newLazilyWokenRig is a lazy counter that was filled and put to sleep.
func newLazilyWokenRig(t *testing.T, mib int) (r *rig, digest string) {
	t.Helper()
	needCRIU(t)
	r = newRig(t, lazyCounter())
	r.activate()
	call[any](r, "increment", "")
	digest = call[struct{ SHA256 string }](r, "fill", fmt.Sprintf(`{"mib":%d}`, mib)).SHA256
	r.hibernate()
	return r, digest
}

// awaitLoaded returns when all memory has come in.
func (r *rig) awaitLoaded() {
	r.t.Helper()
	eventually(r.t, "its memory is loaded", func() bool { return r.ProcessFigures().Loading == shell.Progress{} })
}

func TestLazyWake(t *testing.T) {
	r, digest := newLazilyWokenRig(t, 100)
	r.wake()
	if r.life.tree.loading == nil {
		t.Fatal("it was no lazy wake")
	}
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
	if r.Sleep() != nil {
		t.Error("there still is an image")
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
	r.awaitLoaded()
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("loaded its memory is %s, was %s", got, digest)
	}
	r.host.Images.Close()
	if got := r.imageFiles(); len(got) > 0 {
		t.Errorf("in the image store are %v", got)
	}
	if done, total := r.life.tree.loading.Progress(); done != total || done < 100<<20 {
		t.Errorf("loaded %d of %d bytes", done, total)
	}
	r.checkNoExitReported()
}

// Processes of a tree are loaded each for itself.
func TestLazyWakeOfMany(t *testing.T) {
	needCRIU(t)
	r := newRig(t, lazyCounter())
	r.activate()
	call[any](r, "spawn", `{"depth":3}`)
	for range 3 {
		r.hibernate()
		r.wake()
		if got := call[struct{ Alive int }](r, "children", "").Alive; got != 3 {
			t.Errorf("%d of 3 children answer", got)
		}
	}
	r.awaitLoaded()
}

// What was not loaded yet must not be missing in the next image.
func TestHibernateWhileLoading(t *testing.T) {
	r, digest := newLazilyWokenRig(t, 64)
	early := 0
	for range 10 {
		r.wake()
		if r.ProcessFigures().Loading.Total >= 64<<20 {
			early++
		}
		call[any](r, "increment", "")
		r.hibernate()
	}
	if early == 0 {
		t.Error("all was loaded each time")
	}
	r.wake()
	if got := r.count(); got != 52 {
		t.Errorf("it counts %d", got)
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
	r.checkNoExitReported()
}

// A deadline that is too short for it leaves the plugin as it was.
func TestHibernateWhileLoadingTooLate(t *testing.T) {
	r, digest := newLazilyWokenRig(t, 200)
	r.wake()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Hibernate(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, shell.ErrExited) {
		t.Errorf("got %v", err)
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
	r.checkNoExitReported()
}

// Damage that the wake did not meet ends the plugin before it is met.
func TestDamageFoundWhileLoading(t *testing.T) {
	r, _ := newLazilyWokenRig(t, 200)
	pages := filepath.Join(r.dir, "images", "Counter", "image", "pages-2.img")
	info, err := os.Stat(pages)
	if err != nil {
		t.Fatal(err)
	}
	flipByte(t, pages, info.Size()-info.Size()/10)
	_, err = r.Wake(r.contextFor(patience))
	pids := r.pids()
	if err == nil {
		if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "digest"}); err == nil {
			t.Error("it read all of its memory")
		}
		err = receive(t, r.sink.exits)
	}
	if !errors.Is(err, shell.ErrExited) || !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), "pages-2.img is damaged") {
		t.Errorf("got %v", err)
	}
	r.checkGone(pids)
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.activate()
	if got := r.count(); got != 41 {
		t.Errorf("started again it counts from %d", got)
	}
	r.hibernate()
	r.wake()
}

// What the engine reads by itself is verified before the plugin runs.
func TestDamageFoundBeforeLazyWake(t *testing.T) {
	r, _ := newLazilyWokenRig(t, 20)
	flipByte(t, filepath.Join(r.dir, "images", "Counter", "image", "pages-1.img"), 4096)
	_, err := r.Wake(r.contextFor(patience))
	r.putAside(err)
	r.checkOutOfUse(err, hibernate.Untrusted, "pages-1.img is damaged")
}

func TestStopWhileLoading(t *testing.T) {
	r, _ := newLazilyWokenRig(t, 200)
	r.wake()
	pids := r.pids()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.checkGone(pids)
	r.checkNoExitReported()
}

func TestKilledWhileLoading(t *testing.T) {
	for whom, name := range []string{"pid 1", "the program"} {
		t.Run(name, func(t *testing.T) {
			r, _ := newLazilyWokenRig(t, 200)
			r.wake()
			pids := r.pids()
			if err := syscall.Kill(pids[whom], syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if err := receive(t, r.sink.exits); !containsAll(err.Error(), []string{"signal 9"}) {
				t.Errorf("got %v", err)
			}
			r.checkGone(pids)
			if err := r.Stop(r.contextFor(patience)); err != nil {
				t.Error(err)
			}
			r.activate()
		})
	}
}

// TestHostKilledWhileLoading runs itself again as the host that is killed.
func TestHostKilledWhileLoading(t *testing.T) {
	const where = "DORMOUSE_TEST_DIR"
	if os.Getenv(where) != "" {
		r, _ := newLazilyWokenRig(t, 300)
		r.wake()
		fmt.Printf("\nwoke %d %s\n", r.ProcessFigures().PID, r.dir) //nolint:forbidigo // to the test that started this one
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	needCRIU(t)
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestHostKilledWhileLoading$")
	cmd.Env = append(os.Environ(), binVariable+"="+bin, where+"="+dir, "TMPDIR="+os.TempDir())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	var root string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "woke %d %s", &pid, &root)
	}
	if pid == 0 {
		t.Fatal("the host did not wake its plugin")
	}
	tree := procfs.Tree(pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	for _, p := range tree {
		eventually(t, "the plugin ends with its host", func() bool { return procfs.HasEnded(p) })
	}
	store, err := hibernate.OpenStore(filepath.Join(root, "images"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if image, err := store.ImageDir("Counter").Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("the next host finds %+v, %v", image, err)
	}
	left, _ := filepath.Glob(filepath.Join(root, "images", "Counter", "*"))
	if len(left) > 0 {
		t.Errorf("in the image store are %v", left)
	}
	// What the host itself would have removed.
	if cgroups, err := OpenAndClearCgroups(filepath.Join(root, "run"), false); err == nil {
		if err := cgroups.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := os.RemoveAll(filepath.Dir(filepath.Dir(root))); err != nil {
		t.Error(err)
	}
}

// Auto decides by size.
func TestWakeMode(t *testing.T) {
	needCRIU(t)
	for mode, test := range map[configs.WakeMode]struct{ small, large bool }{
		configs.WakeAuto:  {false, true},
		configs.WakeEager: {false, false},
		configs.WakeLazy:  {true, true},
	} {
		t.Run(string(mode), func(t *testing.T) {
			c := counter()
			c.Wake = mode
			r := newRig(t, c)
			r.activate()
			for mib, want := range map[int]bool{1: test.small, minLazyBytes >> 20: test.large} {
				call[any](r, "fill", fmt.Sprintf(`{"mib":%d}`, mib))
				r.hibernate()
				r.wake()
				if got := r.life.tree.loading != nil; got != want {
					t.Errorf("%d MiB: lazy is %v", mib, got)
				}
			}
		})
	}
}
