package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// defaultParallel is how many plugins an operation with --all works on at the same time.
const defaultParallel = 4

// isHibernated, isSuspended and isQuiet report in which of these states an instance is; quiet
// is one of the two.
func isHibernated(r instanceRecord) bool { return r.State == "hibernated" }
func isSuspended(r instanceRecord) bool  { return r.State == "suspended" }
func isQuiet(r instanceRecord) bool      { return isHibernated(r) || isSuspended(r) }

// checkWakeable returns an error if the plugin would have to be started rather than woken.
func checkWakeable(r instanceRecord) error {
	if isHibernated(r) || r.isRunning() {
		return nil
	}
	return fmt.Errorf("it does not sleep, it is %s; try: dormouse plugin activate %s", r.State, r.Callsign)
}

// operateOnAll carries out an operation on all instances that it is wanted on, a few at the
// same time. It prints each success at once, goes on after an instance has failed, and prints
// the failures at the end. It then returns errReported, or errUnreachable if the host could not
// be reached any more.
func (c *client) operateOnAll(ctx context.Context, t *terminal, o operation, limit time.Duration, parallel int, format *outputFormat) error {
	all, err := c.listInstances(ctx, "")
	if err != nil {
		return err
	}
	s := &sweep{client: c, t: t, o: o, limit: limit, quiet: format.isJSON(), begun: time.Now(), outcomes: []operationOutcome{}, working: make(map[string]bool)}
	for _, r := range all {
		if r.Parent == "" && o.isWanted(r) { // a virtual plugin goes with its parent
			s.callsigns = append(s.callsigns, r.Callsign)
		}
	}
	s.run(ctx, parallel)
	for _, err := range s.failures {
		t.printErrf("dormouse: %v\n", err)
	}
	failed := errors.Join(s.unreachable, errReportedUnless(len(s.failures) == 0))
	if format.isJSON() {
		return errors.Join(t.printIndentedJSON(s.outcomes), failed)
	}
	if len(s.callsigns) == 0 {
		t.printErrf("%s: there is nothing to do, no plugin is in a state for it\n", o.name)
		return failed
	}
	t.printErrf("%s: %d of %d done in %s\n", o.name, s.succeeded(), len(s.callsigns), formatSeconds(time.Since(s.begun)))
	return failed
}

// sweep is one operation on many instances.
type sweep struct {
	client    *client
	t         *terminal
	o         operation
	limit     time.Duration // of each, as in operate
	callsigns []string
	quiet     bool // successes are not printed
	begun     time.Time

	mu          sync.Mutex // guards the fields below, and the terminal
	working     map[string]bool
	outcomes    []operationOutcome
	failures    []error
	unreachable error // the error of the first operation that found no host; none begins after it
}

// succeeded returns how many instances the operation was carried out on.
func (s *sweep) succeeded() int { return len(s.outcomes) - len(s.failures) }

// run carries out the operation on all instances and returns when all have ended. Once ctx has
// ended, or the host can't be reached, it begins no more.
func (s *sweep) run(ctx context.Context, parallel int) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	waiting := make(chan string)
	var workers sync.WaitGroup
	for range min(parallel, len(s.callsigns)) {
		workers.Go(func() {
			for callsign := range waiting {
				if s.operateOn(ctx, callsign); s.hasLostHost() {
					cancel()
				}
			}
		})
	}
	showing, hide := context.WithCancel(ctx)
	var shown sync.WaitGroup
	if s.t.errIsTerminal {
		shown.Go(func() { s.showProgress(showing) })
	}
	for _, callsign := range s.callsigns {
		select {
		case waiting <- callsign:
		case <-ctx.Done():
		}
	}
	close(waiting)
	workers.Wait()
	hide()
	shown.Wait()
}

// operateOn carries out the operation on one instance, and notes and prints its outcome.
func (s *sweep) operateOn(ctx context.Context, callsign string) {
	s.mu.Lock()
	s.working[callsign] = true
	s.mu.Unlock()
	before, after, took, err := s.client.operate(ctx, s.o, callsign, s.limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.working, callsign)
	outcome := operationOutcome{Callsign: callsign, Seconds: took.Seconds(), Status: after.raw}
	switch {
	case s.unreachable != nil:
		return
	case errors.Is(err, errUnreachable):
		s.unreachable = err
		return
	case err != nil:
		err = fmt.Errorf("cannot %s %s: %w", s.o.name, callsign, err)
		s.failures = append(s.failures, err)
		outcome.Error = err.Error()
	case !s.quiet:
		s.clearLine()
		s.t.printf("%s %s, %s\n", callsign, s.o.describeOutcome(before, after), formatSeconds(took))
	}
	s.outcomes = append(s.outcomes, outcome)
}

// hasLostHost reports whether the host could not be reached.
func (s *sweep) hasLostHost() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unreachable != nil
}

// showProgress keeps one line on the terminal about what is under way until ctx ends, and then
// removes it.
func (s *sweep) showProgress(ctx context.Context) {
	timer := time.NewTimer(progressDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.mu.Lock()
			s.clearLine()
			s.mu.Unlock()
			return
		case <-timer.C:
		}
		s.mu.Lock()
		s.t.printErrf(clearLine+"%s", cutWithEllipsis(s.progressLine(), s.t.width))
		s.mu.Unlock()
		timer.Reset(progressInterval)
	}
}

// clearLine removes the line about the progress, if one can be there. The caller holds mu.
func (s *sweep) clearLine() {
	if s.t.errIsTerminal {
		s.t.printErrf(clearLine)
	}
}

// progressLine returns how many instances are done, the time since the beginning, and which
// instances are under way. The caller holds mu.
func (s *sweep) progressLine() string {
	var under []string
	for _, callsign := range s.callsigns {
		if s.working[callsign] {
			under = append(under, callsign)
		}
	}
	return fmt.Sprintf("%s %d / %d  %.1f s  %s", s.o.name, len(s.outcomes), len(s.callsigns), time.Since(s.begun).Seconds(), strings.Join(under, ", "))
}
