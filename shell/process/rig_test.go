package process

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// rig is a host with one plugin.
type rig struct {
	*Backend

	t      *testing.T
	dir    string
	config configs.Plugin
	sink   *sink
	log    *logbook

	visitors chan net.Conn // who connected to the host socket
}

// rogue is the configuration of the plugin in testdata with the arguments.
func rogue(arguments ...string) configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign = "Rogue"
	c.Executable = filepath.Join(bin, "rogue")
	c.Arguments = arguments
	c.StopTimeout = configs.Duration(200 * time.Millisecond)
	c.Sleep = configs.SleepCheckpoint // also where there is swap
	return c
}

// counter is the configuration of the example plugin, which has hooks and state
// control.
func counter() configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign = "Counter"
	c.Executable = filepath.Join(bin, "counter")
	c.Configuration = map[string]any{"start": 41}
	c.Sleep = configs.SleepCheckpoint
	return c
}

// newRig returns a host with the plugin, not started. When the test ends the
// plugin is stopped, and nothing may be left of it.
func newRig(t *testing.T, c configs.Plugin) *rig {
	t.Helper()
	before := findTestLeftovers()
	t.Cleanup(func() {
		if left := before.leaks(); left != "" {
			t.Errorf("left behind:\n%s", left)
		}
	})
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t: t, dir: dir, config: c, log: &logbook{more: make(chan struct{})}}
	images, err := hibernate.OpenStore(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	h := Host{
		RunDir:   filepath.Join(dir, "run"),
		StateDir: filepath.Join(dir, "state"),
		Pidone:   pidone,
		Engine:   engine,
		Images:   images,
		Log:      zerolog.New(r.log),
	}
	if cgroups, err := OpenAndClearCgroups(h.RunDir, false); err == nil {
		h.Cgroups = cgroups
		ours[cgroups.dir.Name()] = true
		t.Cleanup(func() {
			if err := cgroups.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		if err := r.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.runDir()); r.Sleep() == nil && err == nil {
			t.Errorf("%s is left", r.runDir())
		}
		r.host.Images.Close()
	})
	r.useHost(h)
	return r
}

// useHost makes the backend anew, as a host does that is started again.
func (r *rig) useHost(h Host) {
	r.sink = &sink{exits: make(chan error, 10), events: make(chan shell.Notification, 100), controls: make(chan statecontrol.State, 100)}
	r.visitors = make(chan net.Conn, 10)
	h.Serve = r.serveHost
	r.Backend = New(h, func() configs.Plugin { return r.config }, r.sink)
}

// contextFor is a context for one operation.
func (r *rig) contextFor(limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	r.t.Cleanup(cancel)
	return ctx
}

// patience is how long anything may take that should succeed.
const patience = 30 * time.Second

// activate starts the plugin up to where calls are answered.
func (r *rig) activate() {
	r.t.Helper()
	ctx := r.contextFor(patience)
	if _, err := r.Launch(ctx); err != nil {
		r.t.Fatal(err)
	}
	if err := r.Initialize(ctx); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) hibernate() {
	r.t.Helper()
	if err := r.Hibernate(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) wake() {
	r.t.Helper()
	if _, err := r.Wake(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
}

// call invokes a method that must succeed.
func call[T any](r *rig, method, params string) (result T) {
	r.t.Helper()
	answer, err := r.Invoke(r.contextFor(patience), shell.Call{Method: method, Params: json.RawMessage(params)})
	if err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		r.t.Fatalf("%s: %v", method, err)
	}
	return result
}

// count is what the counter stands at.
func (r *rig) count() int {
	r.t.Helper()
	return call[struct{ Value int }](r, "get", "").Value
}

// pids are the processes of the running tree.
func (r *rig) pids() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.life.tree == nil {
		return nil
	}
	return r.life.tree.pids()
}

// checkGone fails the test if one of the processes still runs.
func (r *rig) checkGone(pids []int) {
	r.t.Helper()
	for _, pid := range pids {
		if !procfs.HasEnded(pid) {
			r.t.Errorf("process %d still runs", pid)
		}
	}
}

// receive returns the next of what is sent to c, which must come.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case got := <-c:
		return got
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// eventually waits until something that nobody announces has come true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// sink notes what the backend reports.
type sink struct {
	exits    chan error
	events   chan shell.Notification
	controls chan statecontrol.State
	losses   []shell.Loss
}

func (s *sink) Lost(l shell.Loss)                    { s.losses = append(s.losses, l) }
func (s *sink) Exited(err error)                     { s.exits <- err }
func (s *sink) Notify(n shell.Notification)          { s.events <- n }
func (s *sink) ControlChanged(to statecontrol.State) { s.controls <- to }

// logbook keeps the host's log.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed and replaced at each line
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns when the log has a line with all the fragments.
func (l *logbook) await(t *testing.T, fragments ...string) {
	t.Helper()
	late := time.After(patience)
	for {
		l.mu.Lock()
		text, more := l.text.String(), l.more
		l.mu.Unlock()
		for line := range strings.Lines(text) {
			if containsAll(line, fragments) {
				return
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("the log has no line with %q:\n%s", fragments, text)
		}
	}
}

func containsAll(s string, fragments []string) bool {
	for _, fragment := range fragments {
		if !strings.Contains(s, fragment) {
			return false
		}
	}
	return true
}

func itoa(n int) string { return strconv.Itoa(n) }

const arch = runtime.GOARCH
