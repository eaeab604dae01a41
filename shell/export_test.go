package shell

import (
	"context"
	"time"

	"dormouse/statecontrol"
)

// What the tests in package shell_test, which use shelltest, need of the inside.
const (
	MaxHeldCalls    = maxHeldCalls
	MaxHeldBytes    = maxHeldBytes
	HistoryLength   = historyLength
	ConfigureEvent  = configureEvent
	MaxQuestionTime = maxQuestionTime
)

var (
	ErrClosing = errClosing
	NewLane    = newLane
	FindRow    = findRow
)

func (l *lane) Run(ctx context.Context, event Event, work func() error) error {
	return l.waitAndRunOrJoin(ctx, event, time.Hour, work)
}

func (s State) HasTraits() bool {
	_, ok := stateTraits[s]
	return ok
}

func (s *Shell) Step(ctx context.Context, event Event, why Reason, work func(context.Context) error) error {
	return s.takeStep(ctx, event, why, work)
}

func (s *Shell) CallPlugin(ctx context.Context, size int, send func(context.Context) error) error {
	return s.admitAndCallPlugin(ctx, size, send)
}

func (s *Shell) CallAsProbe(ctx context.Context, send func(context.Context) error) error {
	return s.callAsProbe(ctx, send)
}

func (s *Shell) Admit(ctx context.Context, size int) error {
	_, err := s.admitCallOrWait(ctx, size)
	return err
}

// HoldCall returns nil, or a function that returns the error of the held call.
func (s *Shell) HoldCall(size int) (answer func() error, err error) {
	_, held, err := s.admitOrHold(size, true, true)
	if held == nil {
		return nil, err
	}
	return func() error { return (<-held.answer).err }, nil
}

func (s *Shell) EnterCall() { s.inFlight.enterCall() }
func (s *Shell) LeaveCall() { s.inFlight.leaveCall() }

func (s *Shell) InFlight() (calls, streams int) { return s.inFlight.counts() }

func (s *Shell) SetState(state State, control statecontrol.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.control, s.reason = state, control, Startup
}

func (s *Shell) SetObserver(o Observer) { s.observer = o }
