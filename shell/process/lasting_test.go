package process

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// lastingRig is dozing where plugins outlive their host.
func lastingRig(t *testing.T, mib int) (r *rig, digest string) {
	t.Helper()
	needCRIU(t)
	c := lazyCounter()
	c.StopTimeout = configs.Duration(2 * time.Second)
	r = newRig(t, c)
	needCgroups(r)
	r.host.Adopt = true
	r.useHost(r.host)
	r.activate()
	r.SaveActivationReason(shell.Requested)
	call[any](r, "increment", "")
	digest = call[struct{ SHA256 string }](r, "fill", fmt.Sprintf(`{"mib":%d}`, mib)).SHA256
	r.hibernate()
	return r, digest
}

// loaders are the processes that load for the instance.
func (r *rig) loaders() (pids []int) {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.runDir(), loadingName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Error(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			r.t.Error(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// loader is the one that still loads, and stands still until it is continued.
func (r *rig) loader() int {
	r.t.Helper()
	for range 10 {
		if pids := r.loaders(); len(pids) == 1 {
			r.signal(pids[0], syscall.SIGSTOP)
			if r.pids() == nil || r.ProcessFigures().Loading.Total > 0 {
				return pids[0]
			}
			r.signal(pids[0], syscall.SIGCONT) // it had done its work
		}
		if r.pids() == nil {
			break
		}
		r.hibernate() // it was quicker
		r.wake()
	}
	r.t.Fatalf("loading for it are %v", r.loaders())
	return 0
}

func (r *rig) signal(pid int, s syscall.Signal) {
	r.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatal(err)
	}
}

// checkIntact says that the plugin is as it was put to sleep, and all its memory in.
func (r *rig) checkIntact(digest string) {
	r.t.Helper()
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		r.t.Errorf("its memory is %s, was %s", got, digest)
	}
	r.awaitLoaded()
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		r.t.Errorf("loaded its memory is %s, was %s", got, digest)
	}
	if got := r.count(); got != 42 {
		r.t.Errorf("it counts from %d", got)
	}
	eventually(r.t, "nothing to be left of the loading", func() bool { return len(r.loaders()) == 0 })
}

func TestLastingWake(t *testing.T) {
	r, digest := lastingRig(t, 100)
	for range 3 {
		r.wakeAndLoad()
		if r.Sleep() != nil {
			t.Error("there still is an image")
		}
		r.checkIntact(digest)
		r.wakeAgain()
	}
	r.wake()
	r.checkNoExitReported()
}

// wakeAndLoad wakes the plugin until it is seen loading: at times it is quicker.
func (r *rig) wakeAndLoad() {
	r.t.Helper()
	for range 10 {
		r.wake()
		if got := r.ProcessFigures().Loading; got.Total >= 100<<20 && len(r.loaders()) == 1 {
			return
		}
		r.hibernate()
	}
	r.t.Fatal("it is never loading")
}

// wakeAgain puts the plugin to sleep once more, first while it is loading.
func (r *rig) wakeAgain() {
	r.t.Helper()
	for range 2 {
		r.hibernate()
		r.wake()
	}
	r.hibernate()
	if left := r.loaders(); len(left) > 0 {
		r.t.Errorf("loading for it are %v", left)
	}
}

// A host that leaves hands the loading over.
func TestLoadingOutlivesTheHost(t *testing.T) {
	r, digest := lastingRig(t, 200)
	r.wake()
	r.SaveActivationReason(shell.Requested)
	loader := r.loader()
	if err := r.LeaveRunning(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.useHost(r.host)
	adopted := make(chan error)
	go func() {
		_, err := r.Adopt(r.contextFor(patience))
		adopted <- err
	}()
	r.signal(loader, syscall.SIGCONT)
	if err := receive(t, adopted); err != nil {
		t.Fatal(err)
	}
	r.checkIntact(digest)
	r.hibernate()
	r.wake()
	r.checkIntact(digest)
	r.checkNoExitReported()
}

// TestHostKilledWhileLoadingForAdoption runs itself again as the host that is
// killed. The next one finds a plugin whose memory is still on its way.
func TestHostKilledWhileLoadingForAdoption(t *testing.T) {
	const where = "DORMOUSE_TEST_DIR"
	if os.Getenv(where) != "" {
		r, digest := lastingRig(t, 200)
		r.wake()
		r.loader()
		fmt.Printf("\nwoke %d %s %s\n", r.ProcessFigures().Root, digest, r.dir) //nolint:forbidigo // to the test that started this one
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	needCRIU(t)
	for _, end := range []string{"loads on", "loads again", "is killed"} {
		t.Run(end, func(t *testing.T) {
			root, digest, dir := hostThatWakes(t, t.Name(), where)
			r := newRig(t, lazyCounter())
			needCgroups(r)
			r.inheritFrom(dir)
			adopted := make(chan error, 1)
			adopt := func() {
				_, err := r.Adopt(r.contextFor(patience))
				adopted <- err
			}
			switch loader := r.loader(); end {
			case "loads on":
				r.signal(loader, syscall.SIGCONT)
				adopt()
			case "loads again":
				go adopt()
				eventually(t, "the next host to have the process", func() bool { return r.pids() != nil })
				r.signal(loader, syscall.SIGCONT)
			case "is killed":
				r.signal(loader, syscall.SIGKILL)
				eventually(t, "the loader to end", func() bool { return procfs.HasEnded(loader) })
				adopt()
			}
			err := receive(t, adopted)
			if end == "is killed" {
				if err == nil || !strings.Contains(err.Error(), "the process that loaded it has ended") {
					t.Errorf("got %v", err)
				}
				eventually(t, "the plugin to end", func() bool { return procfs.HasEnded(root) })
				if _, err := os.Stat(r.runDir()); err == nil {
					t.Error("its directory is left")
				}
				r.activate()
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := r.ProcessFigures().Root; got != root {
				t.Errorf("its root is %d, was %d", got, root)
			}
			r.checkIntact(digest)
			r.hibernate()
			r.wake()
			r.checkIntact(digest)
			r.checkNoExitReported()
		})
	}
}

// hostThatWakes runs the test in another process until it has woken its plugin,
// and kills it.
func hostThatWakes(t *testing.T, name, where string) (root int, digest, dir string) {
	t.Helper()
	test, _, _ := strings.Cut(name, "/")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), binVariable+"="+bin, where+"="+t.TempDir(), "TMPDIR="+os.TempDir())
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
	var said strings.Builder
	for lines := bufio.NewScanner(out); root == 0 && lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		_, _ = fmt.Sscanf(lines.Text(), "woke %d %s %s", &root, &digest, &dir)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	if root == 0 {
		t.Fatalf("the host did not wake its plugin:\n%s", said.String())
	}
	return root, digest, dir
}

// inheritFrom makes the rig the next host of what another had in dir.
func (r *rig) inheritFrom(dir string) {
	r.t.Helper()
	h := r.host
	h.Adopt, h.RunDir, h.StateDir = true, filepath.Join(dir, "run"), filepath.Join(dir, "state")
	var err error
	if h.Images, err = hibernate.OpenStore(filepath.Join(dir, "images")); err != nil {
		r.t.Fatal(err)
	}
	if h.Cgroups, err = OpenAndClearCgroups(h.RunDir, true); err != nil {
		r.t.Fatal(err)
	}
	r.dir = dir
	r.t.Cleanup(func() {
		if err := r.Stop(r.contextFor(patience)); err != nil {
			r.t.Error(err)
		}
		r.host.Images.Close()
		if err := errors.Join(h.Cgroups.Close(), os.RemoveAll(filepath.Dir(filepath.Dir(dir)))); err != nil {
			r.t.Error(err)
		}
	})
	r.useHost(h)
}

// Without who loads its memory the plugin can't live.
func TestLoaderKilled(t *testing.T) {
	r, _ := lastingRig(t, 200)
	r.wake()
	pids := r.pids()
	r.signal(r.loader(), syscall.SIGKILL)
	err := receive(t, r.sink.exits)
	if !errors.Is(err, shell.ErrExited) || !strings.Contains(err.Error(), "its memory could not be loaded: the process that loaded it has ended") {
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
}

// Damage that is found while there is no host ends the plugin when there is one.
func TestDamageFoundWithoutHost(t *testing.T) {
	r, _ := lastingRig(t, 200)
	r.wake()
	loader := r.loader() // it stands still, so that it can't find the damage too early
	r.SaveActivationReason(shell.Requested)
	pids := r.pids()
	pages := openFileOf(t, loader, "pages-2.img")
	info, err := os.Stat(pages)
	if err != nil {
		t.Fatal(err)
	}
	flipByte(t, pages, info.Size()-info.Size()/10)
	if err := r.LeaveRunning(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.signal(loader, syscall.SIGCONT)
	r.useHost(r.host)
	if _, err = r.Adopt(r.contextFor(patience)); err == nil {
		_, _ = r.Invoke(r.contextFor(patience), shell.Call{Method: "digest"})
		err = receive(t, r.sink.exits)
	}
	if !errors.Is(err, shell.ErrExited) || !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), "pages-2.img is damaged") {
		t.Errorf("got %v", err)
	}
	r.checkGone(pids)
}

// openFileOf returns a path to the file of that name that the process has open, also if it was
// removed.
func openFileOf(t *testing.T, pid int, name string) string {
	t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(fds)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path := filepath.Join(fds, e.Name())
		if to, err := os.Readlink(path); err == nil && filepath.Base(strings.TrimSuffix(to, " (deleted)")) == name {
			return path
		}
	}
	t.Fatalf("process %d has no file %s open", pid, name)
	return ""
}

// Whoever stops the plugin ends the loading.
func TestStopWhileLoadingElsewhere(t *testing.T) {
	r, _ := lastingRig(t, 200)
	r.wake()
	pids := append(r.pids(), r.loader())
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.checkGone(pids)
	r.checkNoExitReported()
}
