package process

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/atomicfile"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// leaveToNextHost starts the plugin, lets go of it as a host does that leaves, and returns
// the processes that run on.
func (r *rig) leaveToNextHost() []int {
	r.t.Helper()
	needCgroups(r)
	if os.Geteuid() != 0 {
		hibernatetest.SkipOrFail(r.t, errors.New("only root's plugins can be adopted"))
	}
	r.host.Adopt = true
	r.useHost(r.host)
	r.activate()
	r.SaveActivationReason(shell.Requested)
	call[any](r, "increment", "")
	pids := r.pids()
	if !r.OutlivesHost() {
		r.t.Fatal("it would not run on")
	}
	if err := r.LeaveRunning(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
	return pids
}

// What runs on is the same plugin to the next host: its state, its output, its
// end, and its sleep.
func TestAdopt(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	pids := r.leaveToNextHost()
	r.useHost(r.host)
	if why, left := r.Inherited(); !left || why != shell.Requested {
		t.Errorf("left is %v, for the reason %q", left, why)
	}
	info, err := r.Adopt(r.contextFor(patience))
	if err != nil {
		t.Fatal(err)
	}
	if info.Class != "counter" || info.StateControl == nil || r.ProcessFigures().Root != pids[0] {
		t.Errorf("it is %+v, its facts %+v, its processes were %v", info, r.ProcessFigures(), pids)
	}
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
	r.hibernate()
	r.checkGone(pids)
	r.wake()
	if got := r.count(); got != 42 {
		t.Errorf("after a sleep it counts from %d", got)
	}
	r.log.await(t, `"message":"counter woke"`)
}

func TestAdoptedEnds(t *testing.T) {
	r := newRig(t, counter())
	r.leaveToNextHost()
	r.useHost(r.host)
	if _, err := r.Adopt(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	t1 := r.life.tree
	r.mu.Unlock()
	t1.kill()
	if err := receive(t, r.sink.exits); err == nil {
		t.Error("its end is no news")
	}
}

// What does not fit in every point is ended, and said why.
func TestAdoptNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		change func(r *rig, i *journal)
		want   string
	}{
		"policy":        {func(r *rig, _ *journal) { r.host.Adopt = false }, "on-host-exit is not adopt"},
		"configuration": {func(r *rig, _ *journal) { r.config.Configuration["start"] = 7 }, "another configuration"},
		"boot":          {func(_ *rig, i *journal) { i.Boot = "another" }, "by the end of the boot"},
		"start time":    {func(_ *rig, i *journal) { i.RootStarted++ }, "is not the plugin's"},
		"process":       {func(_ *rig, i *journal) { i.Root, i.RootStarted = os.Getpid(), 0 }, "not in the plugin's cgroup"},
		"program":       {func(_ *rig, i *journal) { i.Executing = "1:1" }, "executes another file"},
		"socket":        {func(_ *rig, i *journal) { i.Socket += "x" }, "cannot ask the plugin"},
		"starting":      {func(_ *rig, i *journal) { i.Phase = phaseStarting }, "while the plugin started"},
		"ending":        {func(_ *rig, i *journal) { i.Phase = phaseEnding }, "while the plugin ended"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, counter())
			pids := r.leaveToNextHost()
			i, err := readJournal(r.runDir())
			if err != nil {
				t.Fatal(err)
			}
			test.change(r, i)
			text, err := json.Marshal(i)
			if err == nil {
				err = atomicfile.WriteWithoutSync(filepath.Join(r.runDir(), journalName), text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			r.useHost(r.host)
			if _, err := r.Adopt(r.contextFor(patience)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got error %v, want one with %q", err, test.want)
			}
			if name == "boot" { // after one, nothing runs; here it does
				i.Boot = procfs.BootID()
				if err := i.killTreeAndRemoveCgroup(r.host.Cgroups); err != nil {
					t.Error(err)
				}
			}
			r.checkGone(pids)
			if _, err := os.Stat(r.runDir()); err == nil {
				t.Error("its directory is left")
			}
		})
	}
}
