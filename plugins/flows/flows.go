// Package flows is the built-in Flows: it takes messages for the flows that packages declare,
// keeps them on disk, and gives them to the plugins when these are ready. It knows no packages
// beyond their names, and nothing of how a plugin runs: a function says whether a package is
// ready, and a shell takes the calls.
package flows

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Callsign is the callsign of the built-in, and its class.
const Callsign = "Flows"

// Options is what New needs to make a Flows.
type Options struct {
	Queues *queue.Queues
	// Store keeps the states of flows by their names; nil loses them when the host ends.
	Store  *store.Store
	Config configs.Flows
	Log    zerolog.Logger
	// Readiness returns what the system says of the package of that name. It is asked for each
	// message, and must not wait for an operation.
	Readiness func(pkg string) Readiness
	// Expected returns a package that is being installed for the first time, and whose flows are
	// not known yet: that package, or with "" any. Nil: there never is one.
	Expected func(pkg string) (name string, expected bool)
	// Remote returns the queue of the messages that leave this machine, for a topic that is
	// bound to an engine elsewhere. Nil: no topic is. What comes from there goes to
	// PublishToTopic.
	Remote func(topic string) (queue string, bound bool)
	// RemoteTopics returns how the bound topics are, and RunRemotes passes their messages on
	// until ctx ends. Both are nil if no topic is bound.
	RemoteTopics func(ctx context.Context) ([]RemoteTopic, error)
	RunRemotes   func(ctx context.Context)
	// Retry is how long a message waits after its first failure; 0 stands for the queue's
	// default.
	Retry time.Duration
}

// Flows is the built-in. Flows may be declared before its instance is active; messages are
// delivered only while it is.
type Flows struct {
	Options
	kept store.Bucket[keptState]

	mu         sync.Mutex
	flows      map[string]*flow    // by key
	takers     map[string][]string // the keys of the flows that take a topic
	changed    chan struct{}       // closed at the next change of a flow or a plugin
	supervisor *supervisor.Supervisor
	sink       shell.Sink
	running    context.Context // ends when deliveries must end; nil while none may run
	stop       context.CancelFunc

	deliveries sync.WaitGroup
}

// keptState is the user's state of a flow, as the store has it.
type keptState struct {
	Name  string            `json:"name"`
	State configs.FlowState `json:"state"`
	lastDeclared
}

// New returns the built-in, with a placeholder for each flow whose state was kept.
func New(o Options) (*Flows, error) {
	if o.Remote == nil {
		o.Remote = func(string) (string, bool) { return "", false }
	}
	if o.Expected == nil {
		o.Expected = func(string) (string, bool) { return "", false }
	}
	f := &Flows{
		Options: o, kept: store.BucketOf[keptState](o.Store, "flows"),
		flows: make(map[string]*flow), changed: make(chan struct{}),
	}
	kept, err := f.kept.All()
	if err != nil {
		return nil, fmt.Errorf("cannot read the states of flows: %w", err)
	}
	for key, k := range kept {
		if err := f.setRules(context.Background(), key, configs.DefaultFlow()); err != nil {
			return nil, err
		}
		f.flows[key] = &flow{name: k.Name, state: k.State, last: k.lastDeclared}
	}
	return f, nil
}

// Builtin returns the instance for the supervisor.
func (f *Flows) Builtin() supervisor.Builtin {
	return supervisor.Builtin{Callsign: Callsign, Backend: func(s *supervisor.Supervisor, sink shell.Sink) shell.Backend {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.supervisor, f.sink = s, sink
		return &backend{Flows: f}
	}}
}

// Declare says which flows the package has now, in the place of those that it declared before.
// A flow whose name has no state yet gets the one of its declaration. Each flow must name its
// instance. The error wraps ErrTaken if another package declares one of the names; nothing is
// changed then.
func (f *Flows) Declare(ctx context.Context, pkg string, declared []configs.Flow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := make(map[string]configs.Flow)
	for _, d := range declared {
		wanted[keyOf(d.Name)] = d
		if w, ok := f.flows[keyOf(d.Name)]; ok {
			if owner := w.now().pkg; owner != "" && owner != pkg {
				return fmt.Errorf("%w: the packages %s and %s both declare the flow %s", ErrTaken, owner, pkg, d.Name)
			}
		}
	}
	defer f.findTakersLocked()
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if err := f.declareLocked(ctx, pkg, wanted[key]); err != nil {
			return err
		}
	}
	f.withdrawLocked(pkg, func(key string) bool {
		_, stays := wanted[key]
		return stays
	})
	f.noteChangeLocked()
	return nil
}

// findTakersLocked notes which flows take each topic. The caller holds mu.
func (f *Flows) findTakersLocked() {
	f.takers = make(map[string][]string)
	for _, key := range slices.Sorted(maps.Keys(f.flows)) {
		for _, topic := range f.flows[key].now().Takes {
			f.takers[topic] = append(f.takers[topic], key)
		}
	}
}

// declareLocked makes the flow one of the package's, and begins to deliver its messages. The
// caller holds mu.
func (f *Flows) declareLocked(ctx context.Context, pkg string, d configs.Flow) error {
	key := keyOf(d.Name)
	if err := f.setRules(ctx, key, d); err != nil {
		return err
	}
	w, known := f.flows[key]
	if !known {
		w = &flow{name: d.Name, state: d.State}
	}
	last := lastDeclared{pkg, d.Kind}
	if was := w.now(); was.last != last {
		if err := f.kept.Put(key, keptState{w.name, was.state, last}); err != nil {
			return fmt.Errorf("cannot keep the state of the flow %s: %w", d.Name, err)
		}
	}
	f.flows[key] = w
	w.mu.Lock()
	w.pkg, w.declared, w.last, w.draining, w.hindered = pkg, d, last, false, ""
	w.mu.Unlock()
	f.startDeliveryLocked(w)
	return nil
}

// setRules gives a queue the rules that a declaration says.
func (f *Flows) setRules(ctx context.Context, key string, d configs.Flow) error {
	return f.Queues.SetRules(ctx, key, queue.Rules{
		Limits:   queue.Limits{Messages: int64(d.MaxMessages), Bytes: int64(d.MaxBytes)},
		Parallel: d.Parallel, Attempts: d.Attempts, FirstRetry: f.Retry,
	})
}

// Withdraw makes placeholders of the package's flows, which keep state and messages.
func (f *Flows) Withdraw(pkg string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.withdrawLocked(pkg, func(string) bool { return false })
	f.findTakersLocked()
	f.noteChangeLocked()
}

// withdrawLocked makes placeholders of the package's flows, except for those that stay. The
// caller holds mu.
func (f *Flows) withdrawLocked(pkg string, stays func(key string) bool) {
	for key, w := range f.flows {
		if w.now().pkg != pkg || stays(key) {
			continue
		}
		w.mu.Lock()
		w.pkg, w.declared, w.draining, w.hindered = "", configs.Flow{}, false, ""
		w.mu.Unlock()
		f.stopDeliveryLocked(w)
	}
}

// Changed says that the readiness of the package may have changed.
func (f *Flows) Changed(string) { f.noteChange() }

// noteChange has all deliveries look again at what they wait for.
func (f *Flows) noteChange() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noteChangeLocked()
}

// noteChangeLocked is noteChange for a caller that holds mu.
func (f *Flows) noteChangeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// nextChange returns a channel that is closed at the next change of a flow or a plugin.
func (f *Flows) nextChange() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// find returns the flow of that name, or an ErrUnknown.
func (f *Flows) find(name string) (*flow, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: flow is missing", ErrBadRequest)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if w, ok := f.flows[keyOf(name)]; ok {
		return w, nil
	}
	return nil, fmt.Errorf("%w: %.64q", ErrUnknown, name)
}

// all returns all flows, sorted by name, as they are now.
func (f *Flows) all() []*flow {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Values(f.flows), func(a, b *flow) int { return strings.Compare(a.key(), b.key()) })
}

// ofPackage returns the flows that the package declares, sorted by name.
func (f *Flows) ofPackage(pkg string) []*flow {
	return slices.DeleteFunc(f.all(), func(w *flow) bool { return w.now().pkg != pkg })
}

// SetState sets the user's state of a flow, which need not exist yet, and keeps it. It returns
// the state before, empty for a new name.
func (f *Flows) SetState(name string, state configs.FlowState) (before configs.FlowState, err error) {
	if name == "" {
		return "", fmt.Errorf("%w: flow is missing", ErrBadRequest)
	}
	if err := configs.CheckFlowName(name); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	w, before, err := f.keepAndSetState(name, state)
	if err == nil && before != state {
		f.Log.Info().Str("flow", w.name).Str("state", string(state)).Msg("the flow has another state")
		f.notify("statechange", map[string]any{"flow": w.name, "state": state, "before": before})
	}
	return before, err
}

// keepAndSetState is SetState without reports, for a name that is valid.
func (f *Flows) keepAndSetState(name string, state configs.FlowState) (w *flow, before configs.FlowState, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w, known := f.flows[keyOf(name)]
	if !known {
		w = &flow{name: name}
	}
	if err := f.kept.Put(w.key(), keptState{w.name, state, w.now().last}); err != nil {
		return nil, "", fmt.Errorf("cannot keep the state of the flow %s: %w", name, err)
	}
	f.flows[w.key()] = w
	w.mu.Lock()
	before, w.state = w.state, state
	w.mu.Unlock()
	f.noteChangeLocked()
	return w, before, nil
}

// notify sends an event to the subscribers of Flows. The caller must not hold mu.
func (f *Flows) notify(event string, params any) {
	f.mu.Lock()
	sink := f.sink
	f.mu.Unlock()
	if sink == nil {
		return
	}
	if raw, err := json.Marshal(params); err == nil {
		sink.Notify(shell.Notification{Event: event, Params: raw})
	}
}
