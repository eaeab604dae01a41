package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
)

// Virtual is the Backend of a virtual plugin, which is a part of another instance's plugin, its
// parent. The shell of a virtual plugin admits no calls and holds none: the backend passes them
// on to the parent's shell, which does. Launch and the other methods that run a plugin are never
// called.
type Virtual interface {
	Backend
	// Parent returns the instance whose plugin the virtual plugin is a part of.
	Parent() *Shell
	// Conn returns a connection whose calls go to the parent's plugin, about this instance.
	Conn() grpc.ClientConnInterface
	// AskParent asks the parent's plugin, which runs, for an operation on the virtual plugin.
	// An error says that it refuses, or did not answer.
	AskParent(ctx context.Context, e Event, why Reason) error
}

// ErrVirtual means that the operation is one of the parent: a virtual plugin can't be suspended,
// hibernated, replaced or configured by itself.
var ErrVirtual = errors.New("a virtual plugin is a part of its parent")

// ErrRefused means that the parent's plugin does not want the operation on its virtual plugin.
var ErrRefused = errors.New("its parent refuses")

// Parent returns the callsign of the instance whose virtual plugin this instance is; empty for
// an instance with a plugin of its own and for a built-in.
func (s *Shell) Parent() string {
	if s.virtual == nil {
		return ""
	}
	return s.virtual.Parent().Callsign()
}

// IsVirtual reports whether the instance is a virtual plugin.
func (s *Shell) IsVirtual() bool { return s.virtual != nil }

// Describe replaces the description of a virtual plugin.
func (s *Shell) Describe(about Information) { s.setInformation(about) }

// TellState calls tell with the present state, which stays while tell runs. Tell must not block
// and must not call operations of the shell.
func (s *Shell) TellState(tell func(State)) {
	s.observing.Lock()
	defer s.observing.Unlock()
	tell(s.State())
}

// FollowParent brings a virtual plugin to the state that goes with the state of its parent: it is
// active and hibernated with the parent, and waits in Precondition while the parent is down. One
// that was deactivated or made unavailable by itself stays so. A state on the way to another one
// changes nothing, unless the parent is about to end. It does not block, and may be called while
// the parent reports a transition.
func (s *Shell) FollowParent(parent State, why Reason) {
	s.observing.Lock()
	defer s.observing.Unlock()
	if s.isClosing() || s.unstartable != nil {
		return
	}
	for _, event := range followingEvents(s.State(), parent) {
		reason := why
		if event == Lapse || event == Await {
			reason = Conditions
		}
		_ = s.takeInstantStepLocked(event, reason) // its row is there
	}
}

// followingEvents returns the events that bring a virtual plugin from its state to the one that
// goes with its parent's.
func followingEvents(own, parent State) []Event {
	switch parent {
	case Activated:
		switch own {
		case Precondition:
			return []Event{Activate}
		case Hibernated:
			return []Event{Wake}
		default:
		}
	case Hibernated:
		switch own {
		case Precondition:
			return []Event{PutBack}
		case Activated:
			return []Event{Hibernate}
		default:
		}
	case Deactivation, Deactivated, Precondition, Unavailable, Destroyed:
		switch own {
		case Activated:
			return []Event{Lapse}
		case Hibernated:
			return []Event{Evict, Await}
		default:
		}
	default:
	}
	return nil
}

// takeInstantStep takes the step for event in one go, without work. It returns ErrIllegalState if
// the lifecycle table has no row for it.
func (s *Shell) takeInstantStep(event Event, why Reason) error {
	s.observing.Lock()
	defer s.observing.Unlock()
	return s.takeInstantStepLocked(event, why)
}

// takeInstantStepLocked is takeInstantStep for a caller that holds observing. A virtual plugin has
// no state control of its own that a row could need.
func (s *Shell) takeInstantStepLocked(event Event, why Reason) error {
	row, ok := findRow(event, s.State())
	if !ok {
		return fmt.Errorf("cannot %s: %w", event.verb(), s.illegalStateError(event))
	}
	if row.During != "" {
		s.enterAndReportStateLocked(row.During, event, why, nil)
	}
	s.enterAndReportStateLocked(row.Then, event, why, nil)
	return nil
}

// operateVirtual runs an operation that a client asks for on a virtual plugin: the parent's
// plugin is asked if it runs or can be woken, and then the instance takes the step.
func (s *Shell) operateVirtual(ctx context.Context, event Event, why Reason) error {
	return s.runTurn(ctx, event, s.virtualTimeLimit(), func(ctx context.Context) error {
		switch {
		case event == Deactivate && s.shutdown.Err() != nil:
			return s.endVirtualWithHost(why)
		case s.isVirtuallyDone(event):
			return nil
		case event == Activate && s.State() != Deactivated:
			return s.activateParent(ctx, why)
		}
		if err := s.checkRow(event); err != nil {
			return err
		}
		if err := s.askParentIfItRuns(ctx, event, why); err != nil {
			return fmt.Errorf("cannot %s: %w", event.verb(), err)
		}
		return s.takeVirtualStep(event, why)
	})
}

// isVirtuallyDone reports whether the instance is already what the event makes it.
func (s *Shell) isVirtuallyDone(event Event) bool {
	switch state := s.State(); event {
	case Activate:
		return state == Activated
	case Deactivate:
		return state == Deactivated
	case MakeUnavailable:
		return state == Unavailable
	default:
		return false
	}
}

// checkRow returns ErrIllegalState if the event can't be in the present state. A sleeping plugin
// is woken to be asked, so it counts as active.
func (s *Shell) checkRow(event Event) error {
	state := s.State()
	if state == Hibernated {
		state = Activated
	}
	if _, ok := findRow(event, state); !ok && event != RestartEvent {
		return fmt.Errorf("cannot %s: %w", event.verb(), s.illegalStateError(event))
	}
	return nil
}

// activateParent wakes the parent of a virtual plugin that sleeps with it. The error wraps
// ErrPending if the parent is down: it is not started for its virtual plugin.
func (s *Shell) activateParent(ctx context.Context, why Reason) error {
	switch s.State() {
	case Hibernated:
		return s.virtual.Parent().Activate(ctx, why)
	case Precondition:
		return fmt.Errorf("cannot activate: %w", s.unmetRequirements())
	default:
		return fmt.Errorf("cannot activate: %w", s.illegalStateError(Activate))
	}
}

// askParentIfItRuns asks the parent's plugin for the operation, and wakes it for that. A parent
// that is down is not asked, nor one that itself asks for the operation.
func (s *Shell) askParentIfItRuns(ctx context.Context, event Event, why Reason) error {
	parent := s.virtual.Parent()
	if CallerOf(ctx) == parent.Callsign() || !parent.State().IsInitialized() {
		return nil
	}
	if parent.State().IsInSleepCycle() {
		if err := parent.Activate(ctx, why); err != nil {
			return err
		}
	}
	return s.virtual.AskParent(ctx, event, why)
}

// takeVirtualStep takes the step for an operation that the parent does not refuse. The parent may
// have removed or deactivated the virtual plugin meanwhile.
func (s *Shell) takeVirtualStep(event Event, why Reason) error {
	s.observing.Lock()
	defer s.observing.Unlock()
	switch {
	case event == RestartEvent || s.isVirtuallyDone(event):
		return nil
	case event == Activate && !s.parentTakesCalls():
		return s.takeInstantStepLocked(Await, why)
	case s.State() == Hibernated: // the parent has gone to sleep again
		if err := s.takeInstantStepLocked(Wake, why); err != nil {
			return err
		}
	}
	return s.takeInstantStepLocked(event, why)
}

// parentTakesCalls reports whether the parent is active.
func (s *Shell) parentTakesCalls() bool { return s.virtual.Parent().State().TakesCalls() }

// endVirtualWithHost deactivates an active virtual plugin because the host ends. In any other
// state it stays as it is.
func (s *Shell) endVirtualWithHost(why Reason) error {
	if s.State() != Activated {
		return nil
	}
	return s.takeInstantStep(Deactivate, why)
}

// DestroyVirtual ends a virtual plugin for good. Nothing is asked.
func (s *Shell) DestroyVirtual(why Reason) {
	s.observing.Lock()
	defer s.observing.Unlock()
	switch s.State() {
	case Destroyed:
		return
	case Hibernated:
		_ = s.takeInstantStepLocked(Evict, why) // its row is there
	default:
	}
	_ = s.takeInstantStepLocked(Destroy, why) // its row is there
}

// refuseVirtual is the result of an operation that has no own way for a virtual plugin: none for
// the host's checks, and otherwise an error that names the parent.
// The parent's plugin is not asked, and not woken: only its whole process can sleep.
func (s *Shell) refuseVirtual(event Event) error {
	switch event {
	case recheckEvent:
		return s.lapseIfParentIsGone()
	case startEvent, probeEvent, Retire:
		return nil
	case Suspend, Resume:
		return fmt.Errorf("cannot %s: %w: %w and sleeps only with it; ask for that of %s", event.verb(), ErrNoStateControl, ErrVirtual, s.Parent())
	case Hibernate:
		return fmt.Errorf("cannot hibernate: %w: %w and sleeps only with it; ask for that of %s", ErrIllegalState, ErrVirtual, s.Parent())
	default:
		return fmt.Errorf("cannot %s: %w: %w; ask for that of %s", event.verb(), ErrIllegalState, ErrVirtual, s.Parent())
	}
}

// lapseIfParentIsGone lets an active virtual plugin wait in Precondition if its parent is about to
// end.
func (s *Shell) lapseIfParentIsGone() error {
	if lost := s.requirements.MayStayActive(s.EffectiveInformation()); lost == nil || s.State() != Activated {
		return nil
	}
	return s.takeInstantStep(Lapse, Conditions)
}

// virtualTimeLimit returns how long an operation on a virtual plugin may take: a wake of its
// parent and the parent's answer.
func (s *Shell) virtualTimeLimit() time.Duration {
	return s.virtual.Parent().activationTimeLimit() + time.Duration(s.Config().CallTimeout)
}

// whyNoVirtualCall returns why a virtual plugin takes no call although its parent may, nil if
// calls are passed on.
func (s *Shell) whyNoVirtualCall() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.unstartable != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, s.unstartable)
	case s.state == Deactivated, s.state == Unavailable, s.state == Destroyed:
		return fmt.Errorf("%w: it is %s", ErrUnavailable, s.state)
	}
	return nil
}

// sendVirtual runs send for a call of a virtual plugin: the parent's shell admits the call.
func (s *Shell) sendVirtual(ctx context.Context, send func(context.Context) error) error {
	if err := s.whyNoVirtualCall(); err != nil {
		return err
	}
	return s.withParentNamed(send(ctx))
}

// withParentNamed returns an error of the parent's shell with the name of the parent, so that a
// caller sees what is not active. A plugin's answer and nil stay.
func (s *Shell) withParentNamed(err error) error {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrHibernated) {
		return fmt.Errorf("its parent %s: %w", s.Parent(), err)
	}
	return err
}

// virtualConn is a connection to a virtual plugin, whose calls the parent's shell admits.
type virtualConn struct{ s *Shell }

// Invoke makes a unary call, see grpc.ClientConnInterface.
func (c virtualConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if err := c.s.whyNoVirtualCall(); err != nil {
		return err
	}
	send := func(ctx context.Context) error { return c.s.virtual.Conn().Invoke(ctx, method, args, reply, opts...) }
	send, err := c.s.checkedBy(func(now contract) error { return c.s.checkQuestion(now, method, args) }, send)
	if err != nil {
		return err
	}
	return c.s.withParentNamed(send(ctx))
}

// NewStream opens a stream, see grpc.ClientConnInterface.
func (c virtualConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.s.whyNoVirtualCall(); err != nil {
		return nil, err
	}
	stream, err := c.s.virtual.Conn().NewStream(ctx, desc, method, opts...)
	return stream, c.s.withParentNamed(err)
}

// ExistsIn reports whether the plugin has the method in its virtual plugin of that callsign, as a
// probe.
func (s *Shell) ExistsIn(ctx context.Context, callsign, method string) (exists bool, err error) {
	if s.process == nil {
		return false, ErrBuiltIn
	}
	err = s.callAsProbe(ctx, func(ctx context.Context) error {
		exists, err = s.process.ExistsIn(ctx, callsign, method)
		return err
	})
	return exists, err
}

// existsVirtually is Exists of a virtual plugin.
func (s *Shell) existsVirtually(ctx context.Context, method string) (exists bool, err error) {
	if err := s.whyNoVirtualCall(); err != nil {
		return false, err
	}
	exists, err = s.backend.Exists(ctx, method)
	return exists, s.withParentNamed(err)
}

// withParentServices returns the description of a virtual plugin with the gRPC services of its
// parent, which are those that it has; that of another instance stays.
func (s *Shell) withParentServices(about Information) Information {
	if s.virtual != nil {
		about.Services = s.virtual.Parent().information().Services
	}
	return about
}

// firstVirtualState returns the state in which a virtual plugin begins when its parent is in the
// other one.
func firstVirtualState(parent State) State {
	if parent == Hibernated {
		return Hibernated
	}
	return Precondition
}

// restartVirtual is Restart of a virtual plugin: the parent's plugin begins anew with it. One that
// is not active is activated.
func (s *Shell) restartVirtual(ctx context.Context, why Reason) error {
	if s.State() != Activated {
		return s.operateVirtual(ctx, Activate, why)
	}
	return s.operateVirtual(ctx, RestartEvent, why)
}

// AskParent asks the plugin of a virtual plugin's parent for an operation that the host does
// itself. The parent is woken for that; one that is down is not asked. The error wraps ErrRefused
// if the plugin does not want the operation.
func (s *Shell) AskParent(ctx context.Context, event Event, why Reason) error {
	return s.runTurn(ctx, event, s.virtualTimeLimit(), func(ctx context.Context) error {
		return s.askParentIfItRuns(ctx, event, why)
	})
}
