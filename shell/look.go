package shell

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dormouse/shell/shellpb"
)

// knownMethods is of how many methods an instance remembers whether there are.
const knownMethods = 1024

// Exists tells whether the plugin has the method. It is no use of the plugin: it
// neither wakes it nor waits. Of one that sleeps it tells what is known, and
// returns ErrHibernated for what is not.
func (s *Shell) Exists(ctx context.Context, method string) (exists bool, err error) {
	err = s.peek(ctx, func(ctx context.Context) error {
		exists, err = s.backend.Exists(ctx, method)
		return err
	})
	switch {
	case err == nil:
		s.remembers(method, exists)
	case errors.Is(err, ErrHibernated):
		s.mu.Lock()
		defer s.mu.Unlock()
		if known, ok := s.known[method]; ok {
			return known, nil
		}
	}
	return exists, err
}

// looks tells which calls of a plugin are none of use: whoever asks whether
// it is well does not want it to wake, nor keeps it from falling asleep.
func looks(method string) bool {
	return method == shellpb.Dispatcher_Exists_FullMethodName || strings.HasPrefix(method, "/grpc.health.v1.Health/")
}

// peek delivers what is no use of the plugin, if it is awake.
func (s *Shell) peek(ctx context.Context, deliver func(context.Context) error) error {
	ctx, cancel, limit := s.limited(ctx)
	defer cancel()
	end, state := s.board()
	if end == nil {
		return asleep(state)
	}
	defer s.flight.leave()
	return s.deliver(ctx, cancel, admission{end: end}, limit, deliver)
}

// asleep is the error of what does not wake an instance.
func asleep(state State) error {
	switch state {
	case Hibernating, Hibernated, Waking:
		return ErrHibernated
	default:
		return fmt.Errorf("%w: it is %s", ErrUnavailable, state)
	}
}

// learn takes from the outcome of a call whether there is such a method.
func (s *Shell) learn(method string, err error) {
	switch {
	case err == nil:
		s.remembers(method, true)
	case errors.Is(err, ErrUnknownMethod):
		s.remembers(method, false)
	}
}

func (s *Shell) remembers(method string, exists bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = make(map[string]bool)
	}
	if _, known := s.known[method]; known || len(s.known) < knownMethods {
		s.known[method] = exists
	}
}

// forgetMethods is for a program that may be another than before.
func (s *Shell) forgetMethods() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
}
