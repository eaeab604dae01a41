// Package shelltest has a plugin in memory for the tests of the shell and of the packages
// above it.
package shelltest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/shell"
)

// Names of the actions that a Plugin records. Deinitialize is recorded with its reason.
const (
	Probe            = "probe"
	OpenStream       = "stream"
	Launch           = "launch"
	Initialize       = "initialize"
	Deinitialize     = "deinitialize"
	Stop             = "stop"
	Hibernate        = "hibernate"
	MoveToDisk       = "move to disk"
	Wake             = "wake"
	AskState         = "state"
	Invoke           = "invoke"
	StartWarm        = "warm"
	MakeGolden       = "make golden"
	SkipGolden       = "skip golden"
	InvalidateGolden = "invalidate golden"
	PutAside         = "put aside" // recorded with the class
	PutBack          = "put back"
	Adopt            = "adopt"
	Leave            = "leave"
)

// ErrKilled is the error with which Kill reports the exit.
var ErrKilled = fmt.Errorf("%w on signal 9", shell.ErrExited)

// Plugin is a plugin in memory: a shell.Process that records the calls of its methods as
// actions. A test can hold actions up, make them fail, and kill the plugin. The exported
// fields must be set before the shell uses the plugin.
type Plugin struct {
	Sink   shell.Sink
	Config func() configs.Plugin

	// Info is the plugin's description of itself, ProbeInfo the one that ProbeProgram
	// returns; nil if the plugin can't be probed.
	Info      shell.Information
	ProbeInfo *shell.Information
	// Control is nil for a plugin without state control.
	Control *Control
	// InPlace makes the plugin sleep in place.
	InPlace bool
	// Asleep is how the plugin sleeps, nil while it does not.
	Asleep *shell.Sleep
	// AsideImage is the image that was put aside, nil for none.
	AsideImage *shell.Sleep
	// Outdated is what OutdatedSleep returns while the plugin sleeps.
	Outdated error
	// LeftRunning means that an earlier host left the plugin running.
	LeftRunning bool
	// KeepsGolden makes the plugin start from golden images.
	KeepsGolden bool
	// GoldenMade is the golden image, nil while there is none.
	GoldenMade *shell.GoldenImage
	// Connection answers gRPC calls. If it is nil, the plugin answers calls at once and ends
	// a stream when the client closes it.
	Connection grpc.ClientConnInterface
	// AnswerCall answers method calls. If it is nil, the plugin returns the parameters.
	AnswerCall func(ctx context.Context, c shell.Call) (json.RawMessage, error)
	// HasMethod answers Exists. If it is nil, the plugin has only the method echo.
	HasMethod func(method string) bool
	// GetFigures answers ProcessFigures. If it is nil, the PID is the number of the process.
	GetFigures func() shell.ProcessFigures
	// OnAction, if not nil, is called in each action; its error makes the action fail.
	OnAction func(ctx context.Context, action, detail string) error
	// Complain, if not nil, is told when the shell breaks the contract of a backend.
	Complain func(format string, args ...any)

	mu          sync.Mutex
	actions     []string         // the actions so far
	faults      map[string]error // by action, the error it returns
	gates       map[string]*Gate // by action, the gate it waits at
	active      string           // the lifecycle action that runs
	started     bool             // there is a process, or what is left of one
	alive       bool
	process     int // number of the process
	calls       map[string]int
	running     int // calls that are not answered yet
	startedFrom *shell.GoldenImage
	activated   []shell.Reason
	reports     sync.WaitGroup
	written     []writtenLine
}

var _ shell.Process = (*Plugin)(nil)

// Attach sets the configuration and the sink, as the constructor of a backend does.
func (p *Plugin) Attach(config func() configs.Plugin, sink shell.Sink) {
	p.Config, p.Sink = config, sink
}

// Gate holds an action up.
type Gate struct {
	// Reached is closed when the action has come to the gate. Open lets the action go on.
	Reached  chan struct{}
	Open     func()
	released chan struct{}
}

// Hold makes the next run of the named action wait until the gate is opened or the
// context of the action ends.
func (p *Plugin) Hold(action string) *Gate {
	g := &Gate{Reached: make(chan struct{}), released: make(chan struct{})}
	g.Open = sync.OnceFunc(func() { close(g.released) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gates == nil {
		p.gates = make(map[string]*Gate)
	}
	p.gates[action] = g
	return g
}

// Fail makes every run of the named action return err. With nil the action succeeds again.
func (p *Plugin) Fail(action string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.faults == nil {
		p.faults = make(map[string]error)
	}
	p.faults[action] = err
}

// ClearFailures makes all actions succeed again: it forgets OnAction and the errors of Fail.
func (p *Plugin) ClearFailures() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.OnAction = nil, nil
}

// Kill ends the process of the plugin, if there is one, and reports the exit to the sink.
func (p *Plugin) Kill() {
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

// TakeActions returns the names of the recorded actions and forgets them.
func (p *Plugin) TakeActions() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	did := p.actions
	p.actions = nil
	return did
}

// HasProcess reports whether there is a process, or what is left of one.
func (p *Plugin) HasProcess() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// CountDeliveredCalls returns how many calls with the index (see shell.Call) have been
// delivered.
func (p *Plugin) CountDeliveredCalls(index string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[index]
}

// ActivationReasons returns the reasons of all activations so far.
func (p *Plugin) ActivationReasons() []shell.Reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.activated
}

// complain tells Complain, if it is set, how the shell broke the contract of a backend.
func (p *Plugin) complain(format string, args ...any) {
	if p.Complain != nil {
		p.Complain(format, args...)
	}
}

// runAction records an action with its detail, waits at its gate, calls OnAction, and
// returns the error of OnAction, of Fail, or of ctx.
func (p *Plugin) runAction(ctx context.Context, action, detail string) error {
	p.mu.Lock()
	did := action
	if detail != "" {
		did += " " + detail
	}
	p.actions = append(p.actions, did)
	g, onStep := p.gates[action], p.OnAction
	delete(p.gates, action)
	p.mu.Unlock()
	if g != nil {
		close(g.Reached)
		select {
		case <-g.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if onStep != nil {
		if err := onStep(ctx, action, detail); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[action]
}

// beginExclusiveAction complains if another action of the lifecycle is running. The
// caller calls done at the end of the action.
func (p *Plugin) beginExclusiveAction(action string) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active != "" {
		p.complain("%s began while %s was running", action, p.active)
	}
	p.active = action
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.active = ""
	}
}

// startProcess counts a new process, and complains if the last one was not cleared away.
func (p *Plugin) startProcess(action string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started {
		p.complain("%s although the last process was not cleared away", action)
	}
	p.process++
	p.started, p.alive = true, true
}

// exitError returns ErrKilled if the process has ended, nil while it runs.
func (p *Plugin) exitError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return ErrKilled
	}
	return nil
}

// information returns Info, with the state control.
func (p *Plugin) information() shell.Information {
	info := p.Info
	if p.Control != nil {
		info.StateControl = p.Control
	}
	return info
}

// Launch starts a process and returns Info.
func (p *Plugin) Launch(ctx context.Context) (shell.Information, error) {
	defer p.beginExclusiveAction(Launch)()
	p.startProcess(Launch)
	if err := errors.Join(p.runAction(ctx, Launch, ""), p.exitError()); err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	if p.Control != nil {
		p.Control.SetState(p.Control.AfterLaunch)
	}
	return p.information(), nil
}

// Initialize is recorded as an action; it fails if the process has ended.
func (p *Plugin) Initialize(ctx context.Context) error {
	defer p.beginExclusiveAction(Initialize)()
	if err := errors.Join(p.runAction(ctx, Initialize, ""), p.exitError()); err != nil {
		return fmt.Errorf("%w: %w", shell.ErrInitialization, err)
	}
	return nil
}

// Deinitialize is recorded as an action with its reason.
func (p *Plugin) Deinitialize(ctx context.Context, why shell.Reason) error {
	defer p.beginExclusiveAction(Deinitialize)()
	return errors.Join(p.runAction(ctx, Deinitialize, string(why)), p.exitError())
}

// Stop ends the process, and a sleep in place. It waits until Kill has reported the exit.
func (p *Plugin) Stop(ctx context.Context) error {
	defer p.beginExclusiveAction(Stop)()
	err := p.runAction(ctx, Stop, "")
	p.mu.Lock()
	p.alive, p.started = false, false
	if p.Asleep != nil && p.Asleep.Kind == shell.InPlace {
		p.Asleep = nil
	}
	p.mu.Unlock()
	p.reports.Wait()
	return err
}

// Invoke answers one call by AnswerCall. If AnswerCall is nil, Invoke is recorded as an
// action and returns the parameters.
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
	if p.AnswerCall != nil {
		return p.AnswerCall(ctx, c)
	}
	if err := p.runAction(ctx, Invoke, ""); err != nil {
		return nil, err
	}
	return c.Params, p.exitError()
}

// Exists returns the answer of HasMethod. If HasMethod is nil, Exists is recorded as the
// action "exists" and returns true for the method echo.
func (p *Plugin) Exists(ctx context.Context, method string) (bool, error) {
	if p.HasMethod != nil {
		return p.HasMethod(method), nil
	}
	return method == "echo", p.runAction(ctx, "exists", "")
}

// ExistsIn is Exists.
func (p *Plugin) ExistsIn(ctx context.Context, _, method string) (bool, error) {
	return p.Exists(ctx, method)
}

// ProcessFigures returns the answer of GetFigures. If GetFigures is nil, the PID is the
// number of the process.
func (p *Plugin) ProcessFigures() shell.ProcessFigures {
	if p.GetFigures != nil {
		return p.GetFigures()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return shell.ProcessFigures{}
	}
	return shell.ProcessFigures{PID: p.process}
}

// Conn returns Connection, or a connection to the plugin in memory if Connection is nil.
func (p *Plugin) Conn() grpc.ClientConnInterface {
	if p.Connection != nil {
		return p.Connection
	}
	return conn{p}
}

// ProbeProgram is recorded as the action Probe and returns ProbeInfo. If ProbeInfo is nil,
// ProbeProgram does nothing.
func (p *Plugin) ProbeProgram(ctx context.Context) (shell.Information, error) {
	if p.ProbeInfo == nil {
		return shell.Information{}, nil
	}
	defer p.beginExclusiveAction(Probe)()
	p.mu.Lock()
	if p.started || p.Asleep != nil {
		p.complain("probed while there was a plugin")
	}
	p.mu.Unlock()
	return *p.ProbeInfo, p.runAction(ctx, Probe, "")
}

// KnownInformation returns ProbeInfo, if it is set.
func (p *Plugin) KnownInformation() (shell.Information, bool) {
	if p.ProbeInfo == nil {
		return shell.Information{}, false
	}
	return *p.ProbeInfo, true
}

// Evidence returns no evidence.
func (p *Plugin) Evidence() shell.Evidence { return shell.Evidence{} }

// Write has the plugin write a line at that time, which LogLines returns.
func (p *Plugin) Write(at time.Time, line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = append(p.written, writtenLine{at, line})
}

// LogLines returns the lines that the plugin has written since then.
func (p *Plugin) LogLines(since time.Time) (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.written {
		if !l.at.Before(since) {
			lines = append(lines, l.text)
		}
	}
	return lines
}

// writtenLine is a line that a plugin has written.
type writtenLine struct {
	at   time.Time
	text string
}
