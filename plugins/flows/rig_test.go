package flows

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// patience is how long anything may take that should happen.
const patience = 20 * time.Second

// rig is Flows with a real store, queue and supervisor, and plugins in memory.
type rig struct {
	*testing.T
	*Flows
	supervisor *supervisor.Supervisor
	plugins    map[string]*shelltest.Plugin
	store      *store.Store

	mu        sync.Mutex
	readiness map[string]Readiness // by package; ready if absent
	expected  string               // a package whose flows are not known yet; empty for none
	process   func(callsign string, r *shellpb.ProcessRequest) ([]*shellpb.Message, error)
	hangs     bool        // plugins do not answer
	asked     chan string // "flow id body" of each message that a plugin got
	events    chan string // the names and parameters of events of Flows
}

// setup is what a test wants to have differently.
type setup struct {
	path   string // of the store; empty for a new one
	config func(*configs.Flows)
	plugin func(*configs.Plugin)
	remote func(topic string) (string, bool)

	remoteTopics func(context.Context) ([]RemoteTopic, error)
	runRemotes   func(context.Context)

	callsigns []string // of the plugins; empty for A and B
}

// newRig returns a rig whose plugins are active, and whose queues are at path.
func newRig(t *testing.T, o setup) *rig {
	t.Helper()
	r := &rig{
		T: t, plugins: make(map[string]*shelltest.Plugin), readiness: make(map[string]Readiness),
		asked: make(chan string, 1000), events: make(chan string, 1000),
		process: func(string, *shellpb.ProcessRequest) ([]*shellpb.Message, error) { return nil, nil },
	}
	if o.path == "" {
		o.path = filepath.Join(t.TempDir(), "store.db")
	}
	var err error
	if r.store, err = store.Open(o.path, store.Options{}); err != nil {
		t.Fatal(err)
	}
	config := configs.Flows{WakeMessages: 3, WakeAfter: configs.Duration(time.Hour)}
	if o.config != nil {
		o.config(&config)
	}
	queues, err := queue.Open(r.store, queue.Options{Total: queue.Limits{Messages: int64(config.MaxMessages), Bytes: int64(config.MaxBytes)}})
	if err != nil {
		t.Fatal(err)
	}
	r.Flows, err = New(Options{
		Queues: queues, Store: r.store, Config: config, Log: zerolog.Nop(), Readiness: r.readinessOfPackage, Expected: r.expectedPackage,
		Remote: o.remote, RemoteTopics: o.remoteTopics, RunRemotes: o.runRemotes, Retry: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.callsigns) == 0 {
		o.callsigns = []string{"A", "B"}
	}
	so := supervisor.Options{HibernateTimeout: time.Minute, Log: zerolog.Nop(), Builtins: []supervisor.Builtin{r.Builtin()}}
	for _, callsign := range o.callsigns {
		c := configs.DefaultPlugin()
		c.Callsign, c.StartMode, c.OnCall = callsign, configs.StartActivated, configs.OnCallWake
		if o.plugin != nil {
			o.plugin(&c)
		}
		so.Plugins = append(so.Plugins, c)
	}
	so.Backend = r.newPlugin
	if r.supervisor, err = supervisor.New(so); err != nil {
		t.Fatal(err)
	}
	r.supervisor.Listen(ear{r})
	r.supervisor.Start(t.Context())
	t.Cleanup(r.close)
	return r
}

// close ends the rig, as the host would.
func (r *rig) close() {
	if r.supervisor == nil {
		return
	}
	r.supervisor.Stop(context.Background())
	r.supervisor = nil
	if err := r.store.Close(); err != nil {
		r.Error(err)
	}
}

func (r *rig) newPlugin(config func() configs.Plugin, sink shell.Sink) shell.Backend {
	callsign := config().Callsign
	p := &shelltest.Plugin{
		Info:       shell.Information{Class: callsign, Services: []string{shellpb.FlowService}},
		Connection: connection{r, callsign},
	}
	p.AddControl(statecontrol.Suspended)
	p.Attach(config, sink)
	r.plugins[callsign] = p
	return p
}

func (r *rig) readinessOfPackage(pkg string) Readiness {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, ok := r.readiness[pkg]; ok {
		return known
	}
	return Readiness{Ready: true}
}

func (r *rig) expectedPackage(pkg string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.expected, r.expected != "" && (pkg == "" || pkg == r.expected)
}

// expect has a package whose flows are not known yet, or none.
func (r *rig) expect(pkg string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = pkg
}

// setReadiness sets what the system says of a package, and tells Flows.
func (r *rig) setReadiness(pkg string, to Readiness) {
	r.mu.Lock()
	r.readiness[pkg] = to
	r.mu.Unlock()
	r.Changed(pkg)
}

// answer sets how plugins process messages from now on.
func (r *rig) answer(process func(callsign string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = process
}

// connection is the connection to a plugin in memory.
type connection struct {
	r        *rig
	callsign string
}

func (c connection) Invoke(ctx context.Context, method string, request, answer any, _ ...grpc.CallOption) error {
	q, ok := request.(*shellpb.ProcessRequest)
	if !ok || method != shellpb.Flow_Process_FullMethodName {
		return fmt.Errorf("an unexpected call of %s", method)
	}
	c.r.mu.Lock()
	process, hangs := c.r.process, c.r.hangs
	c.r.mu.Unlock()
	c.r.asked <- fmt.Sprintf("%s %s", q.GetFlow(), q.GetMessage().GetBody())
	if hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	results, err := process(c.callsign, q)
	if err == nil {
		answer.(*shellpb.ProcessResponse).Messages = results //nolint:errcheck // the method has this answer
	}
	return err
}

func (c connection) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, fmt.Errorf("an unexpected stream")
}

// ear hears the events of Flows.
type ear struct{ r *rig }

func (e ear) Transition(shell.Transition) {}

func (e ear) Notification(callsign string, n shell.Notification) {
	if callsign == Callsign {
		e.r.events <- n.Event + string(n.Params)
	}
}

func (e ear) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (e ear) Roster(supervisor.RosterChange) {}

// The flows of most tests: texts gives lines and notes, loud makes shouts of lines, file takes
// shouts and lines.
func declaredFlows() []configs.Flow {
	source, transform, sink := configs.DefaultFlow(), configs.DefaultFlow(), configs.DefaultFlow()
	source.Name, source.Kind, source.Gives = "texts", configs.FlowSource, []string{"lines"}
	transform.Name, transform.Kind, transform.Takes, transform.Gives = "loud", configs.FlowTransform, []string{"lines"}, []string{"shouts"}
	sink.Name, sink.Kind, sink.Takes = "file", configs.FlowSink, []string{"shouts"}
	all := []configs.Flow{source, transform, sink}
	for i := range all {
		all[i].State, all[i].Instance = configs.FlowRunning, "A"
	}
	return all
}

// declare declares the flows for the package p, after a change of each.
func (r *rig) declare(flows []configs.Flow, change func(*configs.Flow)) {
	r.Helper()
	for i := range flows {
		if change != nil {
			change(&flows[i])
		}
	}
	if err := r.Declare(r.Context(), "p", flows); err != nil {
		r.Fatal(err)
	}
}

// publish publishes a body to a flow, and returns the error.
func (r *rig) publish(flow, body string) error {
	_, err := r.Publish(r.Context(), "", flow, &shellpb.Message{Body: []byte(body)})
	return err
}

// must fails the test on an error.
func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// expectAsked waits until plugins have got these messages, each "flow body", in order.
func (r *rig) expectAsked(want ...string) {
	r.Helper()
	for _, w := range want {
		select {
		case got := <-r.asked:
			if got != w {
				r.Fatalf("a plugin got %q, want %q", got, w)
			}
		case <-time.After(patience):
			all, _ := r.records(r.Context())
			text, _ := json.Marshal(all)
			r.Fatalf("no plugin got %q: %s", w, text)
		}
	}
}

// expectNothingAsked fails the test if a plugin has got a message by now.
func (r *rig) expectNothingAsked() {
	r.Helper()
	select {
	case got := <-r.asked:
		r.Fatalf("a plugin got %q", got)
	default:
	}
}

// until waits until the flow's record is as it should be, looking after each change of the
// queue.
func (r *rig) until(flow string, is func(record) bool) record {
	r.Helper()
	late, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	w, err := r.find(flow)
	r.must(err)
	for {
		queued, err := r.Queues.Changed(r.Context(), w.key())
		r.must(err)
		changed := r.nextChange()
		now, err := r.recordOf(r.Context(), w)
		r.must(err)
		if is(now) {
			return now
		}
		tick := time.NewTimer(50 * time.Millisecond) // what hinders a delivery is no change
		select {
		case <-queued:
		case <-changed:
		case <-tick.C:
		case <-late.Done():
			text, _ := json.Marshal(now)
			r.Fatalf("it came to nothing: %s", text)
		}
		tick.Stop()
	}
}

// isEmpty reports whether no message waits.
func isEmpty(s record) bool { return s.Messages == 0 }

// deadLetters waits until the flow has that many dead letters on disk, and returns them.
func (r *rig) deadLetters(flow string, count int) (letters []queue.DeadLetter) {
	r.Helper()
	r.until(flow, func(record) bool {
		var err error
		letters, err = r.Queues.DeadLetters(r.Context(), keyOf(flow), 0, 1000)
		r.must(err)
		return len(letters) == count
	})
	return letters
}

// deadReason waits until the flow has one dead letter, and returns why that died.
func (r *rig) deadReason(flow string) string {
	r.Helper()
	return r.deadLetters(flow, 1)[0].Reason
}
