package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// conditions is what instances depend on.
type conditions struct {
	subsystems []string // all there are, in order; never changed
	kept       store.Bucket[setRecord]

	telling sync.Mutex // held from a change of subsystems until all know of it
	saving  sync.Mutex // one record at a time goes to disk, always as it is then

	waiting sync.Mutex
	leaving map[string][]string // who is about to leave, and for whom they wait; guarded by waiting

	mu    sync.Mutex
	up    map[string]string // the subsystems that are active, and who made them so
	there map[string]bool   // the callsigns that are activated or hibernated
}

func newConditions(o Options) conditions {
	return conditions{
		subsystems: allSubsystems(o.Subsystems), kept: store.In[setRecord](o.Store, "subsystems"),
		leaving: make(map[string][]string), up: make(map[string]string), there: make(map[string]bool),
	}
}

// set makes subsystems active on behalf of an instance, or not, and returns those
// that it changed.
func (c *conditions) set(callsign string, names []string, active bool) (changed []Subsystem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		if _, was := c.up[name]; was != active {
			changed = append(changed, Subsystem{name, active})
		}
		delete(c.up, name)
		if active {
			c.up[name] = callsign
		}
	}
	return changed
}

// madeBy returns the subsystems that the instance made active, in order.
func (c *conditions) madeBy(callsign string) (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.subsystems {
		if by, active := c.up[name]; active && by == callsign {
			names = append(names, name)
		}
	}
	return names
}

// appear records whether a callsign is activated or hibernated.
func (c *conditions) appear(callsign string, there bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.there[callsign] = there
}

func (c *conditions) isThere(callsign string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.there[callsign]
}

// missing is what keeps an instance from being activated: whatever would end it
// at once is among it.
func (c *conditions) missing(config configs.Plugin, about shell.Information) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pending(slices.Concat(c.down(about.Preconditions), c.met(about.Terminations), c.absent(config.Requires)))
}

// lost is what keeps an instance from staying active.
func (c *conditions) lost(config configs.Plugin, about shell.Information) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return pending(slices.Concat(c.met(about.Terminations), c.absent(config.Requires)))
}

// down are the preconditions that don't hold, as a text each.
func (c *conditions) down(preconditions []string) (texts []string) {
	for _, name := range preconditions {
		if _, active := c.up[name]; !active {
			texts = append(texts, "subsystem "+name)
		}
	}
	return texts
}

// met are the terminations that hold, each as the text of what would end that.
func (c *conditions) met(terminations []string) (texts []string) {
	for _, termination := range terminations {
		name, not := configs.SubsystemNot(termination)
		_, active := c.up[name]
		switch {
		case not && !active:
			texts = append(texts, "subsystem "+name)
		case !not && active:
			texts = append(texts, "subsystem "+name+" to end")
		}
	}
	return texts
}

func (c *conditions) absent(callsigns []string) (texts []string) {
	for _, callsign := range callsigns {
		if !c.there[callsign] {
			texts = append(texts, callsign)
		}
	}
	return texts
}

func pending(texts []string) error {
	if len(texts) == 0 {
		return nil
	}
	slices.Sort(texts)
	return fmt.Errorf("%w for %s", shell.ErrPending, strings.Join(slices.Compact(texts), ", "))
}

// surroundings is the host as one of its instances sees it.
type surroundings struct {
	s        *Supervisor
	callsign string
}

func (a surroundings) Missing(about shell.Information) error {
	return a.s.conditions.missing(a.config(), about)
}

func (a surroundings) Lost(about shell.Information) error {
	if a.s.stopping() {
		return nil // the host ends all in its own order
	}
	return a.s.conditions.lost(a.config(), about)
}

func (a surroundings) config() configs.Plugin {
	if sh, ok := a.s.Shell(a.callsign); ok {
		return sh.Config()
	}
	return configs.Plugin{}
}

// Leaving makes all that the instance gave to others go, and returns when those
// who can't be without it have ended.
func (a surroundings) Leaving(ctx context.Context) {
	s := a.s
	s.conditions.appear(a.callsign, false)
	s.drop(a.callsign)
	losers := s.awaited(a.callsign)
	defer s.arrived(a.callsign)
	ended := make(chan struct{}, len(losers))
	s.mu.Lock()
	if s.stopping() {
		s.mu.Unlock()
		return
	}
	for _, sh := range losers {
		s.background.Go(func() {
			if err := sh.ConditionsLost(ctx); err != nil {
				s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msgf("did not end before %s", a.callsign)
			}
			ended <- struct{}{}
		})
	}
	s.mu.Unlock()
	for range losers {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

// observer is the host as it is told by its instances.
type observer struct{ s *Supervisor }

func (o observer) Notification(callsign string, n shell.Notification) {
	o.s.events.Notification(callsign, n)
}

func (o observer) Transition(t shell.Transition) {
	s := o.s
	s.events.Transition(t)
	s.restarts.observe(t)
	s.tiers.observe(t)
	switch {
	case t.From == t.To:
	case t.To == shell.Activated:
		s.conditions.appear(t.Callsign, true)
		s.evaluate()
	case t.To == shell.Hibernating, t.To == shell.Hibernated, t.To == shell.Waking:
	default:
		s.conditions.appear(t.Callsign, false)
		s.drop(t.Callsign)
		s.evaluate()
	}
}

// drop makes the subsystems inactive that the instance had made active.
func (s *Supervisor) drop(callsign string) {
	c := &s.conditions
	c.telling.Lock()
	defer c.telling.Unlock()
	made := c.madeBy(callsign)
	s.announce(c.set(callsign, made, false))
	if len(made) > 0 {
		s.later(func() { s.save(made) }) // when the host stops, the next finds out by itself
	}
}

// losers are the instances that can't be active, but are, or are about to be, and
// are not on their way out.
func (s *Supervisor) losers() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		switch sh.State() {
		case shell.Activation, shell.Waking:
		case shell.Activated:
			if !s.conditions.isThere(sh.Callsign()) {
				return true
			}
		default:
			return true
		}
		return s.conditions.lost(sh.Config(), sh.About()) == nil
	})
}

// awaited are the losers for whom the instance waits before it leaves, also those
// that have begun to leave by themselves. Whoever waits for the instance is none of
// them: two who depend on each other must not wait for each other.
func (s *Supervisor) awaited(callsign string) []*shell.Shell {
	c := &s.conditions
	c.waiting.Lock()
	defer c.waiting.Unlock()
	losers := slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		switch sh.State() {
		case shell.Activation, shell.Waking, shell.Activated, shell.Deactivation:
			return sh.Callsign() == callsign || c.waits(sh.Callsign(), callsign) || c.lost(sh.Config(), sh.About()) == nil
		default:
			return true
		}
	})
	for _, sh := range losers {
		c.leaving[callsign] = append(c.leaving[callsign], sh.Callsign())
	}
	return losers
}

// arrived is to be called when the instance waits no longer.
func (s *Supervisor) arrived(callsign string) {
	s.conditions.waiting.Lock()
	defer s.conditions.waiting.Unlock()
	delete(s.conditions.leaving, callsign)
}

// waits tells whether one that leaves waits for another, or for one that does.
// There is no circle. The caller holds waiting.
func (c *conditions) waits(callsign, other string) bool {
	return slices.ContainsFunc(c.leaving[callsign], func(next string) bool {
		return next == other || c.waits(next, other)
	})
}

// winners are the instances that wait for nothing any more.
func (s *Supervisor) winners() []*shell.Shell {
	return slices.DeleteFunc(s.Shells(), func(sh *shell.Shell) bool {
		return sh.State() != shell.Precondition || s.conditions.missing(sh.Config(), sh.About()) != nil
	})
}

// evaluate has those instances follow whose conditions have changed, in the
// background. An instance that is changing its state looks for itself.
func (s *Supervisor) evaluate() {
	if s.adopting.Load() {
		return
	}
	for _, sh := range slices.Concat(s.losers(), s.winners()) {
		s.follow(sh)
	}
}

// follow has an instance look at its conditions in the background, and once more
// when they change while it does.
func (s *Supervisor) follow(sh *shell.Shell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed[sh] = true
	if s.following[sh] || s.stopping() {
		return
	}
	s.following[sh] = true
	s.background.Go(func() {
		for s.takeChange(sh) {
			// What comes of it the shell has logged, and keeps.
			switch sh.State() {
			case shell.Activated:
				_ = sh.ConditionsLost(s.ctx)
			case shell.Precondition:
				_ = sh.ConditionsMet(s.ctx)
			default:
			}
		}
	})
}

// takeChange tells whether the conditions of the instance changed since the last
// time. If not, it has been followed to the end.
func (s *Supervisor) takeChange(sh *shell.Shell) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed[sh] && !s.stopping()
	delete(s.changed, sh)
	if !changed {
		delete(s.following, sh)
	}
	return changed
}
