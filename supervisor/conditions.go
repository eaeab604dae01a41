package supervisor

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"dormouse/configs"
	"dormouse/shell"
)

// conditions holds the facts on which the requirements of instances depend: which
// subsystems are active, and which instances are present.
type conditions struct {
	subsystems []string // all there are, in order; never changed

	mu      sync.Mutex
	active  map[string]string // active subsystem → callsign that activated it, "" for the host
	present map[string]bool   // by callsign: activated or hibernated
}

// setSubsystems activates or deactivates subsystems on behalf of an instance, "" for the
// host, and returns those that changed. A subsystem that is active already counts as
// activated by that instance from then on.
func (c *conditions) setSubsystems(callsign string, names []string, active bool) (changed []Subsystem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if _, was := c.active[name]; was != active {
			changed = append(changed, Subsystem{name, active})
		}
		delete(c.active, name)
		if active {
			c.active[name] = callsign
		}
	}
	return changed
}

// activatorOf returns the callsign that activated a subsystem, "" if it was the host or
// if the subsystem is inactive.
func (c *conditions) activatorOf(subsystem string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active[subsystem]
}

// subsystemsActivatedBy returns the active subsystems that the instance activated, in order.
func (c *conditions) subsystemsActivatedBy(callsign string) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.subsystems {
		if by, active := c.active[name]; active && by == callsign {
			names = append(names, name)
		}
	}
	return names
}

// setInstancePresent records whether an instance is present, that is, activated or
// hibernated.
func (c *conditions) setInstancePresent(callsign string, present bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if present {
		c.present[callsign] = true
	} else {
		delete(c.present, callsign) // the instance may be gone for good
	}
}

// isInstancePresent reports whether an instance is activated or hibernated, and not about
// to end.
func (c *conditions) isInstancePresent(callsign string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.present[callsign]
}

// missingRequirementsError returns an error that wraps shell.ErrPending and names the
// requirements that keep an instance from being activated; nil if all are met.
func (c *conditions) missingRequirementsError(config configs.Plugin, about shell.Information) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pendingErrorOrNil(slices.Concat(c.inactivePreconditions(about.Preconditions), c.metTerminations(about.Terminations), c.absentInstances(config.Requires)))
}

// lostRequirementsError is missingRequirementsError for an active instance, whose
// preconditions no longer count.
func (c *conditions) lostRequirementsError(config configs.Plugin, about shell.Information) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pendingErrorOrNil(slices.Concat(c.metTerminations(about.Terminations), c.absentInstances(config.Requires)))
}

// inactivePreconditions returns a text for each precondition whose subsystem is inactive.
// The caller holds mu.
func (c *conditions) inactivePreconditions(preconditions []string) (texts []string) {
	for _, name := range preconditions {
		if _, active := c.active[name]; !active {
			texts = append(texts, "subsystem "+name)
		}
	}
	return texts
}

// metTerminations returns, for each termination that is met, a text for the change
// that would undo it. The caller holds mu.
func (c *conditions) metTerminations(terminations []string) (texts []string) {
	for _, termination := range terminations {
		name, not := configs.SplitTermination(termination)
		_, active := c.active[name]
		switch {
		case not && !active:
			texts = append(texts, "subsystem "+name)
		case !not && active:
			texts = append(texts, "subsystem "+name+" to end")
		}
	}
	return texts
}

// absentInstances returns the callsigns whose instances are not present. The caller holds mu.
func (c *conditions) absentInstances(callsigns []string) (absent []string) {
	for _, callsign := range callsigns {
		if !c.present[callsign] {
			absent = append(absent, callsign)
		}
	}
	return absent
}

// pendingErrorOrNil returns an error that wraps shell.ErrPending and lists the texts,
// sorted and each once; nil for none.
func pendingErrorOrNil(texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	slices.Sort(texts)
	return fmt.Errorf("%w for %s", shell.ErrPending, strings.Join(slices.Compact(texts), ", "))
}
