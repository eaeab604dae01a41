package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/statecontrol"
)

// fake is a plugin in memory: a Process whose steps can be held up and made
// to fail. It complains when its shell breaks the contract of a Backend.
type fake struct {
	t    *testing.T
	sink Sink

	mu      sync.Mutex
	did     []string         // the steps asked for, in order
	faults  map[string]error // by step, what it returns
	gates   map[string]*gate // by step, what it waits for
	chaos   func(step string) error
	active  string // the lifecycle step that runs
	started bool   // there is a process, or what is left of one
	alive   bool
	process int
	asleep  *Sleep
	inPlace bool     // it sleeps where it is
	probed  bool     // it says what it is
	control *control // nil without state control
	config  func() configs.Plugin
	calls   map[string]int // by index, how often a call was delivered
	running int            // calls that are not answered yet
	reports sync.WaitGroup
}

// The steps of a fake.
const (
	probing      = "probe"
	opening      = "stream"
	launch       = "launch"
	initialize   = "initialize"
	deinitialize = "deinitialize"
	stop         = "stop"
	hibernation  = "hibernate"
	moving       = "move to disk"
	preparing    = "prepare wake"
	wakening     = "wake"
	asking       = "state"
	invocation   = "invoke"
)

var (
	errBroken = errors.New("broken")
	errKilled = fmt.Errorf("%w on signal 9", ErrExited)
)

// gate holds a step up.
type gate struct {
	reached  chan struct{}
	released chan struct{}
	open     func()
}

// hold makes the next run of a step wait until the gate is opened or its
// context ends.
func (f *fake) hold(step string) *gate {
	g := &gate{reached: make(chan struct{}), released: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.released) })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gates[step] = g
	return g
}

// fail makes every run of a step return err; nil ends that.
func (f *fake) fail(step string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[step] = err
}

// die ends the plugin without being asked to.
func (f *fake) die() {
	f.mu.Lock()
	if !f.alive {
		f.mu.Unlock()
		return
	}
	f.alive = false
	f.reports.Add(1) // Stop waits until the report is made
	f.mu.Unlock()
	f.sink.Exited(errKilled)
	f.reports.Done()
}

// steps returns what was asked for since the last time.
func (f *fake) steps() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	did := f.did
	f.did = nil
	return did
}

// remains tells whether there is a process, or what is left of one.
func (f *fake) remains() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.started
}

func (f *fake) delivered(index string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[index]
}

// at is the part that all steps have in common.
func (f *fake) at(ctx context.Context, step, note string) error {
	f.mu.Lock()
	f.did = append(f.did, step+note)
	g := f.gates[step]
	delete(f.gates, step)
	f.mu.Unlock()
	if g != nil {
		close(g.reached)
		select {
		case <-g.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	chaos, err := f.chaos, f.faults[step]
	f.mu.Unlock()
	if err == nil && chaos != nil {
		err = chaos(step)
	}
	return err
}

// alone checks that steps of the lifecycle come one at a time.
func (f *fake) alone(step string) (done func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.active != "" {
		f.t.Errorf("%s began while %s was running", step, f.active)
	}
	f.active = step
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.active = ""
	}
}

func (f *fake) begin(step string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.started {
		f.t.Errorf("%s although the last process was not cleared away", step)
	}
	f.process++
	f.started, f.alive = true, true
}

func (f *fake) up() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.alive {
		return errKilled
	}
	return nil
}

func (f *fake) information() Information {
	info := Information{Class: "Fake", Version: Version{Major: 1}}
	if f.control != nil {
		info.StateControl = f.control
	}
	return info
}

func (f *fake) RemoveStaleGolden() {
	defer f.alone("configure")()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.started || f.asleep != nil {
		f.t.Error("configured while there was a plugin")
	}
}

func (f *fake) Conn() grpc.ClientConnInterface { return wire{f} }

// wire is a connection on which a call answers at once, and a stream ends when
// its client says so.
type wire struct{ f *fake }

func (w wire) Invoke(ctx context.Context, _ string, _, _ any, _ ...grpc.CallOption) error {
	_, err := w.f.Invoke(ctx, Call{})
	return err
}

func (w wire) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := w.f.at(ctx, opening, ""); err != nil {
		return nil, err
	}
	return &flow{ctx: ctx, up: w.f.up, closed: make(chan struct{})}, nil
}

type flow struct {
	grpc.ClientStream // nil: the rest is never asked for
	ctx               context.Context
	up                func() error
	closed            chan struct{}
}

func (f *flow) CloseSend() error {
	close(f.closed)
	return nil
}

func (f *flow) SendMsg(any) error { return errors.Join(f.ctx.Err(), f.up()) }

func (f *flow) Header() (metadata.MD, error) { return nil, errors.Join(f.ctx.Err(), f.up()) }

// RecvMsg answers true at once, and otherwise waits for the end.
func (f *flow) RecvMsg(m any) error {
	if m == true {
		return nil
	}
	select {
	case <-f.closed:
		return io.EOF
	case <-f.ctx.Done():
		return status.FromContextError(f.ctx.Err()).Err()
	}
}

func (f *fake) Probe(ctx context.Context) (Information, error) {
	if !f.probed {
		return Information{}, nil
	}
	defer f.alone(probing)()
	f.mu.Lock()
	if f.started || f.asleep != nil {
		f.t.Error("probed while there was a plugin")
	}
	f.mu.Unlock()
	info := f.information()
	info.Preconditions, info.Terminations, info.Controls = []string{"Time"}, []string{"!Time"}, []string{"Location"}
	return info, f.at(ctx, probing, "")
}

func (f *fake) KnownInformation() (Information, bool) {
	info := f.information()
	info.Controls = []string{"Location"}
	return info, f.probed
}

func (f *fake) Launch(ctx context.Context) (Information, error) {
	defer f.alone(launch)()
	f.begin(launch)
	if err := errors.Join(f.at(ctx, launch, ""), f.up()); err != nil {
		return Information{}, fmt.Errorf("%w: %w", ErrInstantiation, err)
	}
	if f.control != nil {
		f.control.set(f.control.first)
	}
	return f.information(), nil
}

func (f *fake) Initialize(ctx context.Context) error {
	defer f.alone(initialize)()
	if err := errors.Join(f.at(ctx, initialize, ""), f.up()); err != nil {
		return fmt.Errorf("%w: %w", ErrInitialization, err)
	}
	return nil
}

func (f *fake) Deinitialize(ctx context.Context, why Reason) error {
	defer f.alone(deinitialize)()
	return errors.Join(f.at(ctx, deinitialize, " "+string(why)), f.up())
}

func (f *fake) Stop(ctx context.Context) error {
	defer f.alone(stop)()
	err := f.at(ctx, stop, "")
	f.mu.Lock()
	f.alive, f.started = false, false
	if f.asleep != nil && f.asleep.Kind == InPlace {
		f.asleep = nil
	}
	f.mu.Unlock()
	f.reports.Wait()
	return err
}

func (f *fake) Hibernate(ctx context.Context) error {
	defer f.alone(hibernation)()
	f.mu.Lock()
	if f.running > 0 {
		f.t.Errorf("%d calls are running while the plugin is put to sleep", f.running)
	}
	f.mu.Unlock()
	if err := f.at(ctx, hibernation, ""); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.alive {
		return errKilled
	}
	if f.inPlace {
		f.asleep = &Sleep{Kind: InPlace, Bytes: 4096}
		return nil
	}
	f.alive, f.started = false, false
	f.asleep = &Sleep{Kind: Stored, Bytes: 4096, Generation: uint64(f.process)}
	return nil
}

func (f *fake) MoveToDisk(ctx context.Context) error {
	defer f.alone(moving)()
	if err := errors.Join(f.at(ctx, moving, ""), f.up()); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asleep == nil || f.asleep.Kind != InPlace {
		f.t.Error("moved to disk what does not sleep in place")
	}
	f.alive, f.started = false, false
	f.asleep = &Sleep{Kind: Stored, Bytes: 4096, Generation: uint64(f.process)}
	return nil
}

func (f *fake) Wake(ctx context.Context) (Information, error) {
	defer f.alone(wakening)()
	if s := f.Sleep(); s == nil || s.Kind != InPlace {
		f.begin(wakening)
	}
	err := errors.Join(f.at(ctx, wakening, ""), f.up())
	f.mu.Lock()
	if f.asleep == nil {
		f.t.Error("there was no image to wake")
	}
	f.asleep = nil
	f.mu.Unlock()
	if err != nil {
		return Information{}, err
	}
	return f.information(), nil
}

func (f *fake) Invoke(ctx context.Context, c Call) (json.RawMessage, error) {
	f.mu.Lock()
	f.calls[c.Index]++
	f.running++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.running--
	}()
	if err := f.at(ctx, invocation, ""); err != nil {
		return nil, err
	}
	return c.Params, f.up()
}

func (f *fake) Exists(ctx context.Context, method string) (bool, error) {
	return slices.Contains([]string{"echo"}, method), f.at(ctx, "exists", "")
}

func (f *fake) Facts() Facts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.alive {
		return Facts{}
	}
	return Facts{PID: f.process}
}

func (f *fake) EndSleep(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.asleep == nil {
		f.t.Error("there was no image to drop")
	}
	f.asleep = nil
	return nil
}

func (f *fake) Sleep() *Sleep {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asleep
}

func (f *fake) PrepareWake(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults[preparing]
}

// The rest of a fake does nothing.
func (f *fake) Evidence() Evidence                             { return Evidence{} }
func (f *fake) HibernationObstacle() error                     { return nil }
func (f *fake) StartWarm(context.Context) (Information, error) { return Information{}, ErrCold }
func (f *fake) MakeGolden(context.Context) error               { return nil }
func (f *fake) SkipGolden()                                    {}
func (f *fake) StartedFrom() *GoldenImage                      { return nil }
func (f *fake) Golden() (*GoldenImage, error)                  { return nil, errBroken }
func (f *fake) InvalidateGolden(error)                         {}
func (f *fake) NoteActivated(Reason)                           {}
func (f *fake) Inherited() (Reason, bool)                      { return "", false }
func (f *fake) Adopt(context.Context) (Information, error)     { return Information{}, errBroken }
func (f *fake) OutlivesHost() bool                             { return false }
func (f *fake) Leave(context.Context) error                    { return nil }

func (f *fake) HibernationProgress() Progress { return Progress{Done: 1, Total: 2} }

// control is the state control of a fake.
type control struct {
	f     *fake
	first statecontrol.State // after a launch
	mu    sync.Mutex
	now   statecontrol.State
}

func (c *control) set(s statecontrol.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = s
}

// turn is the plugin changing its state by itself.
func (c *control) turn(s statecontrol.State) {
	c.set(s)
	c.f.sink.ControlChanged(s)
}

func (c *control) State(ctx context.Context) (statecontrol.State, error) {
	err := c.f.at(ctx, asking, "")
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, err
}

func (c *control) Request(ctx context.Context, command statecontrol.Command) error {
	if err := errors.Join(c.f.at(ctx, string(command), ""), c.f.up()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == command.Target() {
		return statecontrol.ErrIllegalState
	}
	c.now = command.Target()
	return nil
}

func (c *control) Watch(context.Context, func(statecontrol.State)) error {
	panic("a shell is told by its Sink")
}
