package process

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

func TestStopInOrder(t *testing.T) {
	r := newRig(t, counter())
	r.activate()
	pids := r.pids()
	if err := r.Deinitialize(r.contextFor(patience), shell.Requested); err != nil {
		t.Error(err)
	}
	begun := time.Now()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > time.Duration(r.config.StopTimeout)/2 {
		t.Errorf("it took %v", took)
	}
	r.checkGone(pids)
	r.log.await(t, `"message":"counter ended"`, `"value":41`, `"reason":"requested"`)
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Errorf("the second time: %v", err)
	}
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "get"}); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("a call to what was stopped: %v", err)
	}
	if got := r.ProcessFigures(); got != (shell.ProcessFigures{}) {
		t.Errorf("got %+v", got)
	}
}

// A plugin that does not end in order ends after the grace.
func TestStopByForce(t *testing.T) {
	for name, prepare := range map[string]func(r *rig){
		"SIGTERM ignored": func(*rig) {},
		"stopped":         func(r *rig) { r.signalProgram(syscall.SIGSTOP) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rogue("stubborn"))
			r.activate()
			prepare(r)
			pids := r.pids()
			begun := time.Now()
			if err := r.Stop(r.contextFor(patience)); err != nil {
				t.Error(err)
			}
			grace := time.Duration(r.config.StopTimeout)
			if took := time.Since(begun); took < grace/2 || took > grace+5*time.Second {
				t.Errorf("it took %v with a grace of %v", took, grace)
			}
			r.checkGone(pids)
			r.checkNoExitReported()
		})
	}
}

// A stop-timeout that was adjusted while the plugin ran counts for its end.
func TestAdjustedStopTimeout(t *testing.T) {
	c := rogue("stubborn")
	c.StopTimeout = configs.Duration(time.Minute)
	r := newRig(t, c)
	r.activate()
	r.config.StopTimeout = configs.Duration(200 * time.Millisecond)
	begun := time.Now()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A call-timeout that was adjusted while the plugin ran bounds how long the host tries
// to reach the plugin again after a hibernation that failed.
func TestAdjustedCallTimeout(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	r.signalProgram(syscall.SIGSTOP)
	r.config.CallTimeout = configs.Duration(200 * time.Millisecond)
	begun := time.Now()
	if err := (checkpointTree{r.Backend, r.life.tree, phaseHibernating, phaseRunning}).Revive(r.contextFor(patience)); !errors.Is(err, shell.ErrExited) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestStopBySIGTERM(t *testing.T) {
	c := rogue()
	c.StopTimeout = configs.Duration(time.Minute)
	r := newRig(t, c)
	r.activate()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
}

func TestStopEndsTheWholeTree(t *testing.T) {
	t.Run("children", func(t *testing.T) {
		r := newRig(t, counter())
		r.activate()
		call[any](r, "spawn", `{"depth":3}`)
		pids := r.pids()
		if len(pids) != 5 {
			t.Errorf("the tree is %v", pids)
		}
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Error(err)
		}
		r.checkGone(pids)
	})
	t.Run("orphans", func(t *testing.T) {
		r := newRig(t, rogue("stubborn"))
		r.activate()
		call[any](r, "orphan", "")
		eventually(t, "the orphan is pid 1's", func() bool { return len(procfs.Children(r.life.tree.root.Pid)) == 2 })
		pids := r.pids()
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Error(err)
		}
		r.checkGone(pids)
	})
}

func TestStopDuringLaunch(t *testing.T) {
	r := newRig(t, rogue("hang"))
	launched := make(chan error, 1)
	ctx := r.contextFor(patience)
	go func() {
		_, err := r.Launch(ctx)
		launched <- err
	}()
	eventually(t, "there is a process", func() bool { return len(r.pids()) == 2 })
	pids := r.pids()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if err := receive(t, launched); !errors.Is(err, shell.ErrInstantiation) {
		t.Errorf("got %v", err)
	}
	r.checkGone(pids)
}

// A launch that was stopped before it was connected does not connect any more.
func TestConnectAfterStop(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	tree := r.life.tree
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if err := r.dialAndRouteTo(r.contextFor(patience), tree); err == nil {
		t.Error("it connected")
	}
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "ping"}); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// What floods its pipes can neither stall its own end nor the host.
func TestStopFlooding(t *testing.T) {
	r := newRig(t, rogue("flood"))
	h := r.host
	h.Log = h.Log.Level(-1)
	r.useHost(h)
	r.activate()
	for range 20 {
		if got := call[string](r, "ping", ""); got != "pong" {
			t.Errorf("got %q", got)
		}
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	for _, stream := range []string{"stdout", "stderr"} {
		if !strings.Contains(r.log.String(), `"stream":"`+stream+`","message":"line 100"`) {
			t.Errorf("nothing of %s was logged", stream)
		}
	}
}

// A cgroup that the plugin made below its own does not keep it from going.
func TestStopWithNestedCgroups(t *testing.T) {
	r := newRig(t, rogue())
	needCgroups(r)
	r.activate()
	if err := os.MkdirAll(string(r.life.tree.cgroup())+"/a/b", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
}

// A pipe that somebody outside of the tree holds open keeps nobody waiting.
func TestStopWithPipeHeldElsewhere(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	held, err := os.OpenFile("/proc/"+itoa(r.ProcessFigures().PID)+"/fd/1", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	begun := time.Now()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A host that starts again kills what is left of an instance in its cgroup.
func TestLaunchEndsWhatIsLeft(t *testing.T) {
	r := newRig(t, rogue())
	needCgroups(r)
	r.activate()
	earlier, pids := r.Backend, r.pids()
	r.useHost(r.host)
	r.activate()
	r.checkGone(pids)
	// It ends without touching what runs now.
	earlier.life.tree.suppressExitReport()
	<-earlier.life.tree.exited
	earlier.life.link.closeAndWait()
	earlier.life.tree.background.Wait()
	earlier.life.tree.output.ReadRestAndClose()
	_ = earlier.life.tree.group.fd.Close()
	earlier.hostSocket.SetUnlinkOnClose(false) // the name is the other one's by now
	if err := earlier.closeHostSocketAndConns(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if got := call[string](r, "ping", ""); got != "pong" {
		t.Errorf("got %q", got)
	}
}

// signalProgram sends a signal to the program itself.
func (r *rig) signalProgram(s syscall.Signal) {
	r.t.Helper()
	pid := r.ProcessFigures().PID
	if err := syscall.Kill(pid, s); err != nil {
		r.t.Fatal(err)
	}
	if s == syscall.SIGSTOP {
		eventually(r.t, "the program is stopped", func() bool { return procfs.IsStopped(pid) })
	}
}

// checkNoExitReported fails the test if an end was reported that was asked for.
func (r *rig) checkNoExitReported() {
	r.t.Helper()
	select {
	case err := <-r.sink.exits:
		r.t.Errorf("an end that was asked for is reported: %v", err)
	default:
	}
}

// imageFiles are the names in the instance's directory of the image store.
func (r *rig) imageFiles() []string {
	entries, _ := os.ReadDir(r.dir + "/images/" + r.config.Callsign)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	slices.Sort(names)
	return names
}
