package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// patience is how long anything may take that should happen.
const patience = 20 * time.Second

// rig is Tasks with a real store and supervisor, and plugins in memory.
type rig struct {
	*testing.T
	*Tasks
	o          setup
	supervisor *supervisor.Supervisor
	store      *store.Store

	mu      sync.Mutex
	plugins map[string]*shelltest.Plugin
	answer  func(question any) (proto.Message, error) // of plugins; nil answers with nothing
	asked   chan string                               // "run B ID", "submit STEP VALUES", "cancel"
	events  chan string                               // the names of events of Tasks
	changes []Change                                  // that Deliver got
}

// setup is what a test wants to have differently.
type setup struct {
	dir       string // of the store and the outputs; empty for a new one
	config    func(*configs.Tasks)
	plugin    func(*configs.Plugin)
	profile   shell.Profile
	adopts    bool     // an earlier host has left the plugins running
	callsigns []string // of the plugins; empty for A and B
	leftOut   configs.LeftOutFiles
}

// newRig returns a rig whose plugins A and B are active.
func newRig(t *testing.T, o setup) *rig {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	r := &rig{T: t, o: o, plugins: make(map[string]*shelltest.Plugin), asked: make(chan string, 1000), events: make(chan string, 1000)}
	r.open()
	t.Cleanup(r.close)
	return r
}

// open opens the store and starts the host.
func (r *rig) open() {
	r.Helper()
	var err error
	r.store, err = store.Open(filepath.Join(r.o.dir, "store.db"), store.Options{})
	r.must(err)
	config := configs.DefaultTasks()
	if r.o.config != nil {
		r.o.config(&config)
	}
	r.Tasks, err = New(Options{
		Store: r.store, Dir: filepath.Join(r.o.dir, "outputs"), Config: config, Log: zerolog.Nop(),
		Subscriptions: &noted{rig: r},
	})
	r.must(err)
	so := supervisor.Options{HibernateTimeout: time.Minute, Log: zerolog.Nop(), Builtins: []supervisor.Builtin{r.Builtin()}, Backend: r.newPlugin, LeftOut: r.o.leftOut}
	if len(r.o.callsigns) == 0 {
		r.o.callsigns = []string{"A", "B"}
	}
	for _, callsign := range r.o.callsigns {
		so.Plugins = append(so.Plugins, r.config(callsign))
	}
	r.supervisor, err = supervisor.New(so)
	r.must(err)
	r.supervisor.Listen(ear{r})
	r.supervisor.Adopt(r.Context())
	r.supervisor.Start(r.Context())
}

// config returns the configuration of the instance of that callsign.
func (r *rig) config(callsign string) configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign, c.StartMode = callsign, configs.StartActivated
	c.Restart = configs.Restart{Policy: configs.RestartAlways, Limit: 10, Window: configs.Duration(time.Minute), Backoff: configs.Duration(time.Millisecond)}
	if r.o.plugin != nil {
		r.o.plugin(&c)
	}
	return c
}

// noted notes the changes that subscribers would be told of.
type noted struct {
	noSubscriptions
	*rig
}

// Deliver notes a change.
func (n *noted) Deliver(_ *store.Tx, c Change) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.changes = append(n.changes, c)
	return nil
}

// restart ends the host in order and starts another one.
func (r *rig) restart() {
	r.Helper()
	r.close()
	r.open()
}

// close ends the host.
func (r *rig) close() {
	if r.supervisor == nil {
		return
	}
	r.supervisor.Stop(context.Background())
	r.supervisor = nil
	r.must(r.store.Close())
}

func (r *rig) newPlugin(config func() configs.Plugin, sink shell.Sink) shell.Backend {
	callsign := config().Callsign
	p := &shelltest.Plugin{
		Info:       shell.Information{Class: callsign, Services: []string{workerService}, Profile: r.o.profile},
		Connection: connection{r, callsign}, LeftRunning: r.o.adopts,
	}
	p.AddControl(statecontrol.Suspended)
	p.Attach(config, sink)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.plugins[callsign] = p
	return p
}

// plugin returns the plugin of that callsign.
func (r *rig) plugin(callsign string) *shelltest.Plugin {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plugins[callsign]
}

// answers sets what plugins answer from now on.
func (r *rig) answers(answer func(question any) (proto.Message, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// connection is the connection to a plugin in memory.
type connection struct {
	r        *rig
	callsign string
}

func (c connection) Invoke(ctx context.Context, method string, question, answer any, _ ...grpc.CallOption) error {
	text := "?" + method
	switch q := question.(type) {
	case *taskspb.RunRequest:
		text = fmt.Sprintf("run %s %d", q.GetTask().GetTitle(), q.GetTask().GetResumed())
	case *taskspb.WorkerSubmitRequest:
		text = fmt.Sprintf("submit %s %s", q.GetStep().GetId(), q.GetStep().GetValues())
	case *taskspb.WorkerCancelRequest:
		text = "cancel"
	}
	c.r.asked <- c.callsign + " " + text
	c.r.mu.Lock()
	give := c.r.answer
	c.r.mu.Unlock()
	if give == nil {
		return nil
	}
	given, err := give(question)
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		return ctx.Err()
	}
	if given != nil && err == nil {
		proto.Merge(answer.(proto.Message), given) //nolint:errcheck // a method answers with a message
	}
	return err
}

// errSilent is the answer of a plugin that does not answer.
var errSilent = errors.New("silent")

func (c connection) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "an unexpected stream")
}

// ear hears the events of Tasks.
type ear struct{ r *rig }

func (e ear) Transition(shell.Transition) {}

func (e ear) Notification(callsign string, n shell.Notification) {
	if callsign == Callsign {
		e.r.events <- n.Event + string(n.Params)
	}
}

func (e ear) Subsystems([]supervisor.Subsystem) {}

func (e ear) Roster(supervisor.RosterChange) {}

// must fails the test on an error.
func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// refused fails the test unless err wraps want.
func (r *rig) refused(err, want error) {
	r.Helper()
	if !errors.Is(err, want) {
		r.Errorf("got %v, want %v", err, want)
	}
}

// expectAsked waits until plugins were asked these questions, in order.
func (r *rig) expectAsked(want ...string) {
	r.Helper()
	for _, w := range want {
		select {
		case got := <-r.asked:
			if got != w {
				r.Fatalf("a plugin was asked %q, want %q", got, w)
			}
		case <-time.After(patience):
			r.Fatalf("no plugin was asked %q", w)
		}
	}
}

// expectNothingAsked fails the test if a plugin was asked something by now.
func (r *rig) expectNothingAsked() {
	r.Helper()
	select {
	case got := <-r.asked:
		r.Fatalf("a plugin was asked %q", got)
	default:
	}
}

// make makes a task of the plugin A that has begun.
func (r *rig) makeTask(change func(*taskspb.CreateRequest)) *taskspb.Task {
	r.Helper()
	q := &taskspb.CreateRequest{Title: "t"}
	if change != nil {
		change(q)
	}
	task, err := r.create(r.Context(), "A", q)
	r.must(err)
	return task
}

// change changes a task of A.
func (r *rig) updateTask(q *taskspb.UpdateRequest) *taskspb.UpdateResponse {
	r.Helper()
	answer, err := r.update(r.Context(), "A", q)
	r.must(err)
	return answer
}

// task returns the task as others than its owner see it.
func (r *rig) task(id string) *taskspb.Task {
	r.Helper()
	task, err := r.Get(r.Context(), id)
	r.must(err)
	return task
}

// until waits until the task is as it should be.
func (r *rig) until(id string, is func(*taskspb.Task) bool) *taskspb.Task {
	r.Helper()
	end := time.Now().Add(patience)
	for revision := uint64(0); ; {
		task, err := r.wait(r.Context(), id, "A", revision, time.Until(end))
		r.must(err)
		if is(task) {
			return task
		}
		if time.Now().After(end) || task.GetStatus() != taskspb.Status_STATUS_PENDING {
			r.Fatalf("it came to nothing: %v", task)
		}
		revision = task.GetRevision()
	}
}

// untilEnded waits until the task has ended.
func (r *rig) untilEnded(id string) *taskspb.Task {
	r.Helper()
	return r.until(id, func(t *taskspb.Task) bool { return t.GetStatus() != taskspb.Status_STATUS_PENDING })
}

// shell returns the instance of that callsign.
func (r *rig) shell(callsign string) *shell.Shell {
	r.Helper()
	sh, ok := r.supervisor.Shell(callsign)
	if !ok {
		r.Fatalf("there is no %s", callsign)
	}
	return sh
}

// copyOfStore returns a directory with the store as it would be if the host were killed now.
func (r *rig) copyOfStore() string {
	r.Helper()
	dir := r.TempDir()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		text, err := os.ReadFile(filepath.Join(r.o.dir, "store.db"+suffix))
		r.must(err)
		r.must(os.WriteFile(filepath.Join(dir, "store.db"+suffix), text, 0o600))
	}
	return dir
}

// hibernateA suspends and hibernates the plugin A.
func (r *rig) hibernateA() {
	r.Helper()
	r.must(r.shell("A").Suspend(r.Context(), shell.Requested))
	r.must(r.shell("A").Hibernate(r.Context(), shell.Requested, 0))
}
