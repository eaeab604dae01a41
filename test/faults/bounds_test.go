package faults

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// quickly is an instance whose host ends within 14 seconds.
const (
	quickly  = "start-timeout = \"2s\"\nstop-timeout = \"1s\"\n"
	endLimit = 14 * time.Second
)

// within fails the test unless work returns in time.
func within(t *testing.T, limit time.Duration, what string, work func()) {
	t.Helper()
	begun := time.Now()
	work()
	if took := time.Since(begun); took > limit {
		t.Errorf("%s took %s, more than %s", what, took, limit)
	}
}

// freezeDisk stops all writes to the file system until the returned function is called.
func freezeDisk(t *testing.T, dir string) (thaw func()) {
	t.Helper()
	const fifreeze, fithaw = 0xc0045877, 0xc0045878
	f, err := os.Open(dir)
	must(t, err)
	must(t, unix.IoctlSetInt(int(f.Fd()), fifreeze, 0))
	frozen := true
	thaw = func() {
		if frozen {
			frozen = false
			if err := unix.IoctlSetInt(int(f.Fd()), fithaw, 0); err != nil {
				t.Error(err)
			}
			_ = f.Close()
		}
	}
	t.Cleanup(thaw)
	return thaw
}

// A process that no signal ends holds up neither an operation nor the end of the host. No
// second copy of its plugin is started, by this host or the next, before it has ended.
func TestProcessDoesNotEnd(t *testing.T) {
	runBeside(t)
	dir := filepath.Join(t.TempDir(), "disk")
	memoryDisk(t, dir)
	file := filepath.Join(dir, "file")
	write(t, file, nil)
	s := newSite(t, "", plugin("Counter", programs+"/ledger", quickly))
	h := s.start("")
	pid := h.settled().PID
	thaw := freezeDisk(t, dir)
	h.must("Counter.stall", map[string]string{"path": file}, nil)
	until(t, "the plugin to wait for the disk", func() bool { return procfs.HasUninterruptibleThread(pid) })

	within(t, endLimit, "the deactivation", func() { h.refuses("Controller.deactivate", "do not end") })
	refused := func(h *host) {
		t.Helper()
		within(t, endLimit, "the activation", func() { h.refuses("Controller.activate", "do not end") })
		if st := h.status(); st.State != "deactivated" || !strings.Contains(st.Error, "do not end") {
			t.Errorf("it is %+v", st)
		}
	}
	refused(h)
	within(t, endLimit, "the end of the host", func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		<-h.ended
	})
	if text := h.log.String(); !strings.Contains(text, strconv.Itoa(pid)+" (ledger, state D)") {
		t.Errorf("the log does not say what is left:\n%s", text)
	}
	h = s.start("")
	h.ready()
	refused(h)
	thaw()
	until(t, "the plugin to start again", func() bool { return h.ask("Controller.activate", callsign, nil) == nil })
	h.settled()
	s.inspect()
	h.end()
	s.inspect()
}

// A host whose log is not read works and ends like any other: in its time, and at once after
// a second signal.
func TestLogIsNotRead(t *testing.T) {
	runBeside(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()
	_, err = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	must(t, err)
	s := newSite(t, "[host]\nlog-level = \"trace\"\n", plugin("Counter", programs+"/ledger", `stop-timeout = "10m"`))
	s.stderr = w
	h := s.start("")
	h.settled()
	for range 20 {
		within(t, 5*time.Second, "the deactivation", func() { h.must("Controller.deactivate", callsign, nil) })
		within(t, 5*time.Second, "the activation", func() { h.must("Controller.activate", callsign, nil) })
	}
	within(t, 5*time.Second, "the end", func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		<-h.ended
	})
	h = s.start("")
	must(t, syscall.Kill(h.settled().PID, syscall.SIGSTOP)) // it ends by SIGKILL only
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	until(t, "the host to end", func() bool { return h.ask("Controller.status", nil, nil) != nil })
	within(t, 3*time.Second, "the forced end", func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		<-h.ended
	})
	s.stderr = nil
	h = s.start("")
	h.settled()
	s.inspect()
	h.end()
}

// A plugin whose pid 1 has left its cgroup ends when it is told to, and with its host.
func TestRootLeavesItsCgroup(t *testing.T) {
	mount, err := cgroup.MountPoint()
	if err != nil {
		hibernatetest.SkipOrFail(t, err)
	}
	leave := func(h *host) (root int) {
		t.Helper()
		pid := h.settled().PID
		root = procfs.Parent(pid)
		for _, p := range []int{root, pid} {
			must(t, cgroup.Dir(mount).Set("cgroup.procs", strconv.Itoa(p)))
		}
		return root
	}
	s := newSite(t, policy("adopt"), plugin("Counter", programs+"/ledger", quickly))
	h := s.start("")
	root := leave(h)
	h.must("Controller.deactivate", callsign, nil)
	if !procfs.HasEnded(root) {
		t.Error("the plugin runs on")
	}
	h.must("Controller.activate", callsign, nil)
	root = leave(h)
	must(t, h.cmd.Process.Kill())
	<-h.ended
	h = s.start("")
	h.settled()
	if !procfs.HasEnded(root) {
		t.Error("a second copy was started beside the plugin")
	}
	h.end()
	s.inspect()
}

// owns reports whether the process is below the host, so that a test may kill it.
func (h *host) owns(pid int) bool {
	return pid > 1 && slices.Contains(procfs.Tree(h.cmd.Process.Pid)[1:], pid)
}

// tasks is how many hibernations are disturbed.
func tasks() int {
	if thorough {
		return 500
	}
	return 15
}

// Whatever task of a tree dies in the middle of a hibernation, the operation ends, the
// instance is in a state that it can leave, and the host ends.
func TestTasksDieDuringHibernation(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newSite(t, impatient, plugin("Counter", programs+"/counter", quickly))
	h := s.start("")
	h.tried()
	ended, slept := 0, 0
	for range tasks() {
		root := 0
		until(t, "a tree to disturb", func() bool { // the host may notice only now that the last one died
			h.must("Controller.activate", callsign, nil)
			st := h.status()
			if st.State != "suspended" && st.State != "resumed" || st.PID <= 1 {
				return false
			}
			root = procfs.Parent(st.PID)
			return root > 1
		})
		after, which := time.Duration(random.IntN(120))*time.Millisecond, random.Int()
		struck := make(chan struct{})
		go func() {
			defer close(struck)
			<-time.After(after)
			if tree := procfs.Tree(root); h.owns(tree[which%len(tree)]) {
				_ = syscall.Kill(tree[which%len(tree)], syscall.SIGKILL)
			}
		}()
		if err := h.ask("Controller.hibernate", callsign, nil); err == nil {
			slept++
		}
		<-struck
		until(t, "an end of the operation", func() bool {
			switch st := h.status(); st.State {
			case "deactivated":
				ended++
				return true
			case "hibernated":
				return true
			default:
				return st.PID != 0 && !procfs.HasEnded(st.PID)
			}
		})
	}
	t.Logf("of %d hibernations %d were completed, and %d plugins ended", tasks(), slept, ended)
	within(t, endLimit, "the end of the host", func() {
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		<-h.ended
	})
	if text := h.log.String(); strings.Contains(text, "does not end in") {
		t.Errorf("the host ended by force:\n%s", text)
	}
	s.inspect()
}

// A CRIU that hangs does not hold up the end of the host: a plugin that was being hibernated
// ends in order, one that was being woken sleeps on.
func TestEndWhileCRIUHangs(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, method := range []string{"Controller.hibernate", "Controller.activate"} {
		t.Run(method, func(t *testing.T) {
			runBeside(t)
			s := newSite(t, "", counter(quickly))
			h := s.start("")
			h.settled()
			h.tried()
			left := ""
			if method == "Controller.activate" {
				left = "hibernated"
			}
			var asked chan error
			for isStopped, tries := false, 0; !isStopped; tries++ { // CRIU may be quicker
				if tries == 10 {
					t.Fatal("CRIU could not be stopped")
				}
				if left == "" {
					h.must("Controller.activate", callsign, nil)
				} else {
					h.hibernate("Counter")
				}
				stop := strike(h, syscall.SIGSTOP, 1, 1)
				asked = make(chan error, 1)
				go func() { asked <- h.ask(method, callsign, nil) }()
				until(t, "CRIU to be stopped", func() bool {
					pids := working(t.Context(), h)
					isStopped = len(pids) > 0 && procfs.IsStopped(pids[0])
					return isStopped || len(asked) > 0
				})
				stop()
			}
			within(t, endLimit, "the end of the host", func() {
				_ = h.cmd.Process.Signal(syscall.SIGTERM)
				<-h.ended
			})
			t.Logf("the request ended with %v", <-asked)
			if text := h.log.String(); h.cmd.ProcessState.ExitCode() != 0 {
				t.Errorf("the host ended by force:\n%s", text)
			}
			audit(t, s, nil, left)
		})
	}
}
