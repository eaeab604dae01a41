// Package shelltest has a plugin in memory for the tests of the shell and of the packages
// above it.
package shelltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// Steps that a Plugin records. Two of them carry a detail: Deinitialize the reason.
const (
	Probe            = "probe"
	OpenStream       = "stream"
	Launch           = "launch"
	Initialize       = "initialize"
	Deinitialize     = "deinitialize"
	Stop             = "stop"
	Hibernate        = "hibernate"
	MoveToDisk       = "move to disk"
	PrepareWake      = "prepare wake" // only fails, is not recorded
	Wake             = "wake"
	AskState         = "state"
	Invoke           = "invoke"
	StartWarm        = "warm"
	MakeGolden       = "make golden"
	SkipGolden       = "skip golden"
	InvalidateGolden = "invalidate golden"
	Adopt            = "adopt"
	Leave            = "leave"
)

// ErrKilled is the exit that Die reports.
var ErrKilled = fmt.Errorf("%w on signal 9", shell.ErrExited)

// Plugin is a plugin in memory: a shell.Process that records its steps. A test can hold
// steps up, make them fail, and end the plugin. Set the exported fields before the shell
// uses the plugin.
type Plugin struct {
	Sink   shell.Sink
	Config func() configs.Plugin

	// Info is the plugin's description of itself, ProbeInfo the one that Probe returns; nil
	// if the plugin can't be probed.
	Info      shell.Information
	ProbeInfo *shell.Information
	// Control is nil for a plugin without state control.
	Control *Control
	// InPlace makes the plugin sleep in place.
	InPlace bool
	// Asleep is how the plugin sleeps, nil while it does not.
	Asleep *shell.Sleep
	// Left means that an earlier host left the plugin running.
	Left bool
	// KeepsGolden makes the plugin start from golden images.
	KeepsGolden bool
	// GoldenMade is the golden image, nil while there is none.
	GoldenMade *shell.GoldenImage
	// Connection answers gRPC calls; nil for one on which calls answer at once, and a
	// stream ends when its client says so.
	Connection grpc.ClientConnInterface
	// Call answers method calls; nil for an echo of the parameters.
	Call func(ctx context.Context, c shell.Call) (json.RawMessage, error)
	// HasMethod answers Exists; nil for a plugin that has only the method echo.
	HasMethod func(method string) bool
	// Figures answers Facts; nil for the number of the process as PID.
	Figures func() shell.Facts
	// OnStep, if not nil, is called in each step, and makes the step fail.
	OnStep func(ctx context.Context, step, detail string) error
	// Complain, if not nil, is told when the shell breaks the contract of a backend.
	Complain func(format string, args ...any)

	mu        sync.Mutex
	did       []string         // the steps so far
	faults    map[string]error // by step, the error it returns
	gates     map[string]*Gate // by step, the gate it waits at
	chaos     func(step string) error
	active    string // the lifecycle step that runs
	started   bool   // there is a process, or what is left of one
	alive     bool
	process   int // number of the process
	calls     map[string]int
	running   int // calls that are not answered yet
	from      *shell.GoldenImage
	activated []shell.Reason
	reports   sync.WaitGroup
}

var _ shell.Process = (*Plugin)(nil)

// Attach sets what a backend is made with.
func (p *Plugin) Attach(config func() configs.Plugin, sink shell.Sink) {
	p.Config, p.Sink = config, sink
}

// Gate holds a step up.
type Gate struct {
	// Reached is closed when the step has come to the gate. Open lets it go on.
	Reached  chan struct{}
	Open     func()
	released chan struct{}
}

// Hold makes the next run of a step wait until the gate is opened or its context ends.
func (p *Plugin) Hold(step string) *Gate {
	g := &Gate{Reached: make(chan struct{}), released: make(chan struct{})}
	g.Open = sync.OnceFunc(func() { close(g.released) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gates == nil {
		p.gates = make(map[string]*Gate)
	}
	p.gates[step] = g
	return g
}

// Fail makes every run of a step return err; nil ends that.
func (p *Plugin) Fail(step string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults == nil {
		p.faults = make(map[string]error)
	}
	p.faults[step] = err
}

// SetChaos has chaos decide in each step whether it fails; nil ends that.
func (p *Plugin) SetChaos(chaos func(step string) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.chaos = chaos
}

// Heal ends all failures.
func (p *Plugin) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.chaos = nil, nil
}

// Die ends the plugin unasked and reports that.
func (p *Plugin) Die() {
	p.mu.Lock()
	if !p.alive {
		p.mu.Unlock()
		return
	}
	p.alive = false
	p.reports.Add(1) // Stop waits until the report is made
	p.mu.Unlock()
	p.Sink.Exited(ErrKilled)
	p.reports.Done()
}

// Steps returns the steps since the last time.
func (p *Plugin) Steps() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	did := p.did
	p.did = nil
	return did
}

// HasProcess reports whether there is a process, or what is left of one.
func (p *Plugin) HasProcess() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// Delivered returns how many calls with the index have been delivered.
func (p *Plugin) Delivered(index string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[index]
}

// ActivatedFor returns the reasons of all activations so far.
func (p *Plugin) ActivatedFor() []shell.Reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.activated
}

func (p *Plugin) complain(format string, args ...any) {
	if p.Complain != nil {
		p.Complain(format, args...)
	}
}

// at is the part that all steps have in common.
func (p *Plugin) at(ctx context.Context, step, detail string) error {
	p.mu.Lock()
	did := step
	if detail != "" {
		did += " " + detail
	}
	p.did = append(p.did, did)
	g := p.gates[step]
	delete(p.gates, step)
	p.mu.Unlock()
	if g != nil {
		close(g.Reached)
		select {
		case <-g.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.OnStep != nil {
		if err := p.OnStep(ctx, step, detail); err != nil {
			return err
		}
	}
	p.mu.Lock()
	chaos, err := p.chaos, p.faults[step]
	p.mu.Unlock()
	if err == nil && chaos != nil {
		err = chaos(step)
	}
	return err
}

// alone checks that steps of the lifecycle come one at a time.
func (p *Plugin) alone(step string) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active != "" {
		p.complain("%s began while %s was running", step, p.active)
	}
	p.active = step
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active = ""
	}
}

// begin starts a process.
func (p *Plugin) begin(step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		p.complain("%s although the last process was not cleared away", step)
	}
	p.process++
	p.started, p.alive = true, true
}

// up returns an error if the process has ended.
func (p *Plugin) up() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return ErrKilled
	}
	return nil
}

func (p *Plugin) information() shell.Information {
	info := p.Info
	if p.Control != nil {
		info.StateControl = p.Control
	}
	return info
}

// Launch starts a process.
func (p *Plugin) Launch(ctx context.Context) (shell.Information, error) {
	defer p.alone(Launch)()
	p.begin(Launch)
	if err := errors.Join(p.at(ctx, Launch, ""), p.up()); err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	if p.Control != nil {
		p.Control.Set(p.Control.First)
	}
	return p.information(), nil
}

// Initialize is a step.
func (p *Plugin) Initialize(ctx context.Context) error {
	defer p.alone(Initialize)()
	if err := errors.Join(p.at(ctx, Initialize, ""), p.up()); err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, err)
	}
	return nil
}

// Deinitialize is a step.
func (p *Plugin) Deinitialize(ctx context.Context, why shell.Reason) error {
	defer p.alone(Deinitialize)()
	return errors.Join(p.at(ctx, Deinitialize, string(why)), p.up())
}

// Stop ends the process, and a sleep in place.
func (p *Plugin) Stop(ctx context.Context) error {
	defer p.alone(Stop)()
	err := p.at(ctx, Stop, "")
	p.mu.Lock()
	p.alive, p.started = false, false
	if p.Asleep != nil && p.Asleep.Kind == shell.InPlace {
		p.Asleep = nil
	}
	p.mu.Unlock()
	p.reports.Wait()
	return err
}

// Invoke answers one call.
func (p *Plugin) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	p.mu.Lock()
	if p.calls == nil {
		p.calls = make(map[string]int)
	}
	p.calls[c.Index]++
	p.running++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
	}()
	if p.Call != nil {
		return p.Call(ctx, c)
	}
	if err := p.at(ctx, Invoke, ""); err != nil {
		return nil, err
	}
	return c.Params, p.up()
}

// Exists is a step of its own, "exists".
func (p *Plugin) Exists(ctx context.Context, method string) (bool, error) {
	if p.HasMethod != nil {
		return p.HasMethod(method), nil
	}
	return method == "echo", p.at(ctx, "exists", "")
}

// Facts are those of Figures.
func (p *Plugin) Facts() shell.Facts {
	if p.Figures != nil {
		return p.Figures()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return shell.Facts{}
	}
	return shell.Facts{PID: p.process}
}

// Conn returns Connection.
func (p *Plugin) Conn() grpc.ClientConnInterface {
	if p.Connection != nil {
		return p.Connection
	}
	return conn{p}
}

// Probe returns ProbeInfo, and is no step without it.
func (p *Plugin) Probe(ctx context.Context) (shell.Information, error) {
	if p.ProbeInfo == nil {
		return shell.Information{}, nil
	}
	defer p.alone(Probe)()
	p.mu.Lock()
	if p.started || p.Asleep != nil {
		p.complain("probed while there was a plugin")
	}
	p.mu.Unlock()
	return *p.ProbeInfo, p.at(ctx, Probe, "")
}

// KnownInformation returns ProbeInfo.
func (p *Plugin) KnownInformation() (shell.Information, bool) {
	if p.ProbeInfo == nil {
		return shell.Information{}, false
	}
	return *p.ProbeInfo, true
}

// Evidence has nothing to show.
func (p *Plugin) Evidence() shell.Evidence { return shell.Evidence{} }

// Hibernate ends the process, unless the plugin sleeps in place.
func (p *Plugin) Hibernate(ctx context.Context) error {
	defer p.alone(Hibernate)()
	p.mu.Lock()
	if p.running > 0 {
		p.complain("%d calls are running while the plugin is put to sleep", p.running)
	}
	p.mu.Unlock()
	if err := p.at(ctx, Hibernate, ""); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return ErrKilled
	}
	if p.InPlace {
		p.Asleep = &shell.Sleep{Kind: shell.InPlace, Bytes: 4096}
		return nil
	}
	p.store()
	return nil
}

// store ends the process and leaves an image. The caller holds mu.
func (p *Plugin) store() {
	p.alive, p.started = false, false
	p.Asleep = &shell.Sleep{Kind: shell.Stored, Bytes: 4096, Generation: uint64(p.process)} //nolint:gosec // it counts from 1
}

// HibernationObstacle finds none.
func (p *Plugin) HibernationObstacle() error { return nil }

// HibernationProgress is always the same.
func (p *Plugin) HibernationProgress() shell.Progress { return shell.Progress{Done: 1, Total: 3} }

// Sleep returns Asleep.
func (p *Plugin) Sleep() *shell.Sleep {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Asleep
}

// MoveToDisk ends the process and leaves an image.
func (p *Plugin) MoveToDisk(ctx context.Context) error {
	defer p.alone(MoveToDisk)()
	if err := errors.Join(p.at(ctx, MoveToDisk, ""), p.up()); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil || p.Asleep.Kind != shell.InPlace {
		p.complain("moved to disk what does not sleep in place")
	}
	p.store()
	return nil
}

// PrepareWake can be made to fail.
func (p *Plugin) PrepareWake(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[PrepareWake]
}

// Wake starts a process from the image, or goes on in place.
func (p *Plugin) Wake(ctx context.Context) (shell.Information, error) {
	defer p.alone(Wake)()
	if s := p.Sleep(); s == nil || s.Kind != shell.InPlace {
		p.begin(Wake)
	}
	err := errors.Join(p.at(ctx, Wake, ""), p.up())
	p.mu.Lock()
	if p.Asleep == nil {
		p.complain("there was no image to wake")
	}
	p.Asleep = nil
	p.mu.Unlock()
	if err != nil {
		return shell.Information{}, err
	}
	return p.information(), nil
}

// EndSleep gives the image up.
func (p *Plugin) EndSleep(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil {
		p.complain("there was no image to drop")
	}
	p.Asleep = nil
	return nil
}

// StartWarm starts a process from the golden image.
func (p *Plugin) StartWarm(ctx context.Context) (shell.Information, error) {
	defer p.alone(StartWarm)()
	if p.GoldenMade == nil {
		return shell.Information{}, fmt.Errorf("%w: there is none", shell.ErrCold)
	}
	p.begin(StartWarm)
	if err := errors.Join(p.at(ctx, StartWarm, ""), p.up()); err != nil {
		p.mu.Lock()
		p.alive, p.started = false, false
		p.mu.Unlock()
		p.reports.Wait()
		return shell.Information{}, err
	}
	p.Control.Set(p.Control.First)
	p.from = p.GoldenMade
	return p.information(), nil
}

// MakeGolden makes the golden image of generation 7.
func (p *Plugin) MakeGolden(ctx context.Context) error {
	if !p.KeepsGolden {
		return nil
	}
	defer p.alone(MakeGolden)()
	p.from = nil
	if err := errors.Join(p.at(ctx, MakeGolden, ""), p.up()); err != nil {
		return err
	}
	p.GoldenMade = &shell.GoldenImage{Generation: 7}
	return nil
}

// SkipGolden is a step.
func (p *Plugin) SkipGolden() {
	p.from = nil
	_ = p.at(context.Background(), SkipGolden, "")
}

// StartedFrom returns the golden image that the last start used.
func (p *Plugin) StartedFrom() *shell.GoldenImage { return p.from }

// Golden returns GoldenMade.
func (p *Plugin) Golden() (*shell.GoldenImage, error) {
	if p.GoldenMade == nil {
		return nil, hibernate.ErrNoImage
	}
	return p.GoldenMade, nil
}

// InvalidateGolden removes the golden image.
func (p *Plugin) InvalidateGolden(error) {
	_ = p.at(context.Background(), InvalidateGolden, "")
	p.GoldenMade = nil
}

// RemoveStaleGolden only checks that there is no plugin.
func (p *Plugin) RemoveStaleGolden() {
	defer p.alone("configure")()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.Asleep != nil {
		p.complain("configured while there was a plugin")
	}
}

// NoteActivated records the reason.
func (p *Plugin) NoteActivated(why shell.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.activated = append(p.activated, why)
}

// Inherited reports Left; the plugin was asked for.
func (p *Plugin) Inherited() (shell.Reason, bool) { return shell.Requested, p.Left }

// Adopt takes the plugin over that is Left.
func (p *Plugin) Adopt(ctx context.Context) (shell.Information, error) {
	defer p.alone(Adopt)()
	p.Left = false
	if err := p.at(ctx, Adopt, ""); err != nil {
		return shell.Information{}, err
	}
	p.begin(Adopt)
	return p.information(), nil
}

// OutlivesHost reports that the plugin does.
func (p *Plugin) OutlivesHost() bool { return true }

// Leave lets go of the process.
func (p *Plugin) Leave(ctx context.Context) error {
	err := p.at(ctx, Leave, "")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive, p.started = false, false
	return err
}

// Control is the state control of a Plugin.
type Control struct {
	Plugin *Plugin
	First  statecontrol.State // after a launch

	mu  sync.Mutex
	now statecontrol.State
}

// AddControl gives the plugin a state control, which is in state first after a launch.
func (p *Plugin) AddControl(first statecontrol.State) {
	p.Control = &Control{Plugin: p, First: first, now: first}
}

// Set changes the state without a word.
func (c *Control) Set(s statecontrol.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = s
}

// Turn is the plugin changing its state by itself.
func (c *Control) Turn(s statecontrol.State) {
	c.Set(s)
	c.Plugin.Sink.ControlChanged(s)
}

// State is the step AskState.
func (c *Control) State(ctx context.Context) (statecontrol.State, error) {
	err := c.Plugin.at(ctx, AskState, "")
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, err
}

// Request is a step with the name of the command.
func (c *Control) Request(ctx context.Context, command statecontrol.Command) error {
	if err := errors.Join(c.Plugin.at(ctx, string(command), ""), c.Plugin.up()); err != nil {
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

// Watch is never used: a shell is told by its Sink.
func (c *Control) Watch(context.Context, func(statecontrol.State)) error {
	panic("a shell is told by its Sink")
}
