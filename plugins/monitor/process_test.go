package monitor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/host"
	"dormouse/plugins/monitor"
	"dormouse/shell"
	"dormouse/supervisor"
)

// patience is how long anything may take that should succeed.
const patience = 30 * time.Second

// live is a host with a Monitor and the example plugin Counter as a process, and
// maybe others of its kind.
type live struct {
	*supervisor.Supervisor
	*testing.T
	engine *criu.Engine
	heard  chan string
}

func newLive(t *testing.T, configuration string, others ...string) *live {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	program := filepath.Join(dir, "counter")
	build := exec.Command("go", "build", "-o", program, "../examples/counter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build the plugin: %v\n%s", err, out)
	}
	counter, own := configs.DefaultPlugin(), configs.DefaultPlugin()
	counter.Callsign, counter.Executable, counter.StartMode = "Counter", program, configs.StartActivated
	counter.StopTimeout = configs.Duration(500 * time.Millisecond)
	counter.StartupOrder = own.StartupOrder + 1
	own.Callsign, own.Builtin, own.StartMode = "Monitor", monitor.Class, configs.StartActivated
	if err := json.Unmarshal([]byte(configuration), &own.Configuration); err != nil {
		t.Fatal(err)
	}
	plugins := []configs.Plugin{own, counter}
	for _, callsign := range others {
		counter.Callsign = callsign
		plugins = append(plugins, counter)
	}
	o := host.PrivateOptions(dir, zerolog.Nop(), plugins...)
	o.Config.Hibernate.Criu = os.Getenv("DORMOUSE_CRIU")
	h, err := host.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.CleanUpAndClose(false); err != nil {
			t.Error(err)
		}
	})
	r := &live{Supervisor: h.Supervisor, T: t, engine: h.Engine, heard: make(chan string, 1000)}
	t.Cleanup(r.Listen(r)) // before the Monitor does, which is told in turn
	r.Start(t.Context())
	t.Cleanup(func() {
		if err := h.StopPluginsAndCommunicator(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, sh := range r.Shells() {
		if st := sh.Status(); st.State != shell.Activated {
			t.Fatalf("%s is %s: %v", sh.Callsign(), st.State, st.Err)
		}
	}
	r.expect("Monitor activated, startup")
	for range plugins[1:] {
		<-r.heard // in any order
	}
	return r
}

// Transition notes the steps of the plugins and the Monitor, not those of other parts of the host.
func (r *live) Transition(t shell.Transition) {
	if sh, found := r.Shell(t.Callsign); found && sh.IsBuiltIn() && t.Callsign != "Monitor" {
		return
	}
	if t.From != t.To && (t.To == shell.Activated || t.To == shell.Deactivated || t.To == shell.Hibernated) {
		r.heard <- fmt.Sprintf("%s %s, %s", t.Callsign, t.To, t.Reason)
	}
}

func (r *live) Notification(callsign string, n shell.Notification) {
	if callsign == "Monitor" {
		r.heard <- n.Event + string(n.Params)
	}
}

func (r *live) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (r *live) Roster(supervisor.RosterChange) {}

// expect waits for these events, in order and without others.
func (r *live) expect(want ...string) {
	r.Helper()
	for _, line := range want {
		select {
		case got := <-r.heard:
			if got != line {
				r.Fatalf("heard  %s\nwanted %s", got, line)
			}
		case <-time.After(patience):
			r.Fatalf("did not hear %s", line)
		}
	}
}

func (r *live) call(callsign, method, index, params string) json.RawMessage {
	r.Helper()
	sh, _ := r.Shell(callsign)
	result, err := sh.Invoke(r.Context(), shell.Call{Method: method, Index: index, Params: json.RawMessage(params)})
	if err != nil {
		r.Fatalf("%s.%s: %v", callsign, method, err)
	}
	return result
}

// next returns the first statistics that were measured from now on.
func (r *live) next() monitor.Statistics {
	r.Helper()
	r.call("Monitor", "resetstatistics", "", `{"callsign":"Counter"}`)
	return r.measured("Counter", 1)
}

func (r *live) statistics(callsign string) (s monitor.Statistics) {
	r.Helper()
	if err := json.Unmarshal(r.call("Monitor", "measurementdata", callsign, ""), &s); err != nil {
		r.Fatal(err)
	}
	return s
}

// measured waits until that many measurements were made.
func (r *live) measured(callsign string, count int64) monitor.Statistics {
	r.Helper()
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s := r.statistics(callsign); s.Count >= count {
			return s
		}
		select {
		case <-tick.C:
		case <-late:
			r.Fatal("nothing was measured")
		}
	}
}

func TestFiguresOfProcesses(t *testing.T) {
	r := newLive(t, `{"observables": [{"callsign": "Counter", "memory": 1, "operational": 1}]}`)
	alone := r.next()
	if alone.Process.Last != 1 || !alone.Operational || alone.Resident.Last < 4<<20 || alone.Shared.Last < 1<<20 ||
		alone.Shared.Last >= alone.Resident.Last || alone.Allocated.Last <= alone.Resident.Last {
		t.Errorf("alone it takes %+v", alone)
	}

	if alone.Cgroup.Last == 0 && r.charged() > 0 {
		t.Errorf("its cgroup is not measured: %+v", alone)
	}

	const filled = 64 << 20
	r.call("Counter", "fill", "", `{"mib": 64}`)
	if grown := r.next().Resident.Last - alone.Resident.Last; grown < filled*9/10 || grown > filled*2 {
		t.Errorf("filled with %d, it has grown by %d", filled, grown)
	}

	r.call("Counter", "spawn", "", `{"depth": 2}`)
	if got := r.next().Process; got.Last != 3 {
		t.Errorf("with two children the processes are %+v", got)
	}
	if len(r.heard) != 0 {
		t.Errorf("heard %s", <-r.heard)
	}
}

// charged returns the memory that the kernel counts for Counter's cgroup, 0 without a cgroup.
func (r *live) charged() int64 {
	sh, _ := r.Shell("Counter")
	return sh.Status().Figures.Charged
}

// TestSleepsThroughPolls watches a plugin that is really asleep, beside one that
// is not and by which time is told.
func TestSleepsThroughPolls(t *testing.T) {
	r := newLive(t, `{"observables": [
		{"callsign": "Counter", "memory": 1, "operational": 1, "restart": {"window": 600, "limit": 2}},
		{"callsign": "Awake", "memory": 1, "operational": 1}
	]}`, "Awake")
	hibernatetest.RequireEngine(t, r.engine)
	r.call("Monitor", "resetstatistics", "", `{"callsign":"Awake"}`)
	sh, _ := r.Shell("Counter")
	operate := func(do func(context.Context, shell.Reason) error) {
		t.Helper()
		if err := do(t.Context(), shell.Requested); err != nil {
			t.Fatal(err)
		}
	}
	operate(sh.Suspend)
	operate(func(ctx context.Context, why shell.Reason) error { return sh.Hibernate(ctx, why, 0) })
	r.expect("Counter hibernated, requested")
	before := r.statistics("Counter")
	image := sh.Status().Sleep
	r.measured("Awake", r.statistics("Awake").Count+4)
	if st := sh.Status(); st.State != shell.Hibernated || st.Sleep.Generation != image.Generation || st.Figures.PID != 0 {
		t.Errorf("it did not sleep on: %+v", st)
	}
	if diff := cmp.Diff(before, r.statistics("Counter")); diff != "" {
		t.Errorf("it was measured asleep (-before +after):\n%s", diff)
	}
	if len(r.heard) != 0 {
		t.Errorf("heard %s", <-r.heard)
	}
	operate(sh.Activate)
	r.expect("Counter activated, requested")
	r.measured("Counter", before.Count+1)
}

func TestFaultsOfProcesses(t *testing.T) {
	r := newLive(t, `{"observables": [{
		"callsign": "Counter", "memory": 1, "memorylimit": 65536, "operational": 1, "restart": {"window": 600, "limit": 2}
	}]}`)
	r.call("Counter", "fill", "", `{"mib": 96}`)
	again := []string{
		`action{"callsign":"Counter","action":"Activate","reason":"Automatic"}`,
		`statuschanged{"callsign":"Counter","action":"Activated"}`,
		"Counter activated, automatic",
	}
	r.expect(append([]string{
		`action{"callsign":"Counter","action":"Deactivate","reason":"MemoryExceeded"}`,
		`statuschanged{"callsign":"Counter","action":"Deactivated","reason":"ExceededMemory"}`,
		"Counter deactivated, memory exceeded",
	}, again...)...)

	// One that is stopped does not answer, and does not end in order either.
	r.signal(syscall.SIGSTOP)
	r.expect(append([]string{
		`action{"callsign":"Counter","action":"Deactivate","reason":"Failure"}`,
		`statuschanged{"callsign":"Counter","action":"Deactivated","reason":"NotOperational"}`,
		"Counter deactivated, failure",
	}, again...)...)

	r.call("Monitor", "restartlimits", "", `{"callsign":"Counter","restart":{"limit":3,"window":600}}`)
	r.signal(syscall.SIGKILL)
	r.expect(append([]string{"Counter deactivated, failure"}, again...)...)
	r.signal(syscall.SIGKILL)
	r.expect(
		"Counter deactivated, failure",
		`action{"callsign":"Counter","action":"StoppedRestaring","reason":"3 attempts failed within the restart window"}`,
		`statuschanged{"callsign":"Counter","action":"RestartingStopped"}`,
	)
}

func (r *live) signal(s syscall.Signal) {
	r.Helper()
	sh, _ := r.Shell("Counter")
	if err := syscall.Kill(sh.Status().Figures.PID, s); err != nil {
		r.Fatal(err)
	}
}
