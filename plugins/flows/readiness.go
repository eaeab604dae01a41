package flows

import (
	"fmt"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// decideNow returns what becomes of a message for the flow now, and why the plugin does not get
// it.
func (f *Flows) decideNow(s snapshot) (v verdict, why string) {
	return decide(s.Name, s.state, f.readinessOf(s))
}

// checkTakes returns an ErrRejected if the flow takes no message from outside now. A flow that is
// drained still takes results, so that none is lost.
func (f *Flows) checkTakes(s snapshot) error {
	if s.draining {
		return fmt.Errorf("%w: its package %s is to be removed", ErrRejected, s.pkg)
	}
	if v, why := f.decideNow(s); v == reject {
		return fmt.Errorf("%w: %s", ErrRejected, why)
	}
	return nil
}

// isExpected reports whether a package that is being installed may declare the placeholder: it
// did so before, or no other package did. Until that is known the flow's state counts, and what
// is published waits.
func (f *Flows) isExpected(s snapshot) (pkg string, expected bool) {
	if !s.isPlaceholder() {
		return "", false
	}
	return f.Expected(s.last.Package)
}

// readinessOf returns what the system says of the plugin behind the flow: of its package, its
// declaration and its instance. A plugin that is hibernated, and that calls wake, is ready.
func (f *Flows) readinessOf(s snapshot) Readiness {
	if pkg, expected := f.isExpected(s); expected {
		return Readiness{Why: fmt.Sprintf("the flows of the package %s are not known before it is fetched", pkg)}
	}
	if s.isPlaceholder() {
		return Readiness{Why: "no package declares it"}
	}
	r := f.Readiness(s.pkg)
	switch err := fault(s.Flow); {
	case r.Disabled:
		return r
	case err != nil:
		return Readiness{Why: err.Error()}
	case !r.Ready:
		return r
	}
	sh := f.shellOf(s)
	if sh == nil {
		return Readiness{Why: fmt.Sprintf("there is no instance %s", s.Receiver())}
	}
	switch state := sh.State(); {
	case state == shell.Activated && !sh.Serves(shellpb.FlowService):
		return Readiness{Why: fmt.Sprintf("the plugin of %s processes no messages: it does not serve %s", s.Receiver(), shellpb.FlowService)}
	case state == shell.Activated:
		return Readiness{Ready: true}
	case state == shell.Hibernated && sh.DeliversCalls():
		return Readiness{Ready: true}
	case state == shell.Hibernated:
		return Readiness{Why: fmt.Sprintf(`%s is hibernated, and its key on-call is "reject": dormouse plugin activate %s`, s.Instance, s.Instance)}
	}
	return Readiness{Why: whyDown(sh)}
}

// whyDown returns why an instance that is neither active nor hibernated takes no messages. What
// led to that may hold what is not for every reader: the status of the instance has it.
func whyDown(sh *shell.Shell) string {
	st := sh.BriefStatus()
	callsign := sh.Callsign()
	switch {
	case st.State.IsTransitional():
		return fmt.Sprintf("%s is in %s", callsign, st.State)
	case st.Err != nil:
		return fmt.Sprintf("%s is %s after a failure: dormouse plugin show %s", callsign, wordsFor(st.State), callsign)
	}
	return fmt.Sprintf("%s is %s: dormouse plugin activate %s", callsign, wordsFor(st.State), callsign)
}

// wordsFor returns the state as it goes after "is".
func wordsFor(s shell.State) string {
	if s == shell.Precondition {
		return "waiting for its preconditions"
	}
	return string(s)
}

// shellOf returns the instance that gets the flow's messages, nil if there is none now.
func (f *Flows) shellOf(s snapshot) *shell.Shell {
	f.mu.Lock()
	sup := f.supervisor
	f.mu.Unlock()
	if sup == nil {
		return nil
	}
	sh, ok := sup.Shell(s.Receiver())
	if ok && s.Virtual != "" && sh.Parent() != s.Instance {
		return nil // of another
	}
	return sh
}
