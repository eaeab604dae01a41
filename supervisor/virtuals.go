package supervisor

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/shell/virtual"
)

// virtuals holds the virtual plugins: their definitions, which are also kept while there is no
// parent, and their instances.
type virtuals struct {
	kept     store.Bucket[virtualRecord]
	changing sync.Mutex // held while a virtual plugin is made, changed or removed

	mu       sync.RWMutex // guards the fields below
	defined  map[string]Virtual
	children map[string]map[string]*shell.Shell // instances by their parents' callsigns and their own
	parents  map[string]string                  // callsigns of the parents of those instances
}

// loadVirtuals reads the definitions that are kept.
func loadVirtuals(s *store.Store) (*virtuals, error) {
	v := &virtuals{
		kept:    store.BucketOf[virtualRecord](s, "virtuals"),
		defined: make(map[string]Virtual), children: make(map[string]map[string]*shell.Shell), parents: make(map[string]string),
	}
	all, err := v.kept.All()
	for callsign, r := range all {
		v.defined[callsign] = r.virtual(callsign)
	}
	return v, err
}

// KeptVirtualsOf returns the virtual plugins of a parent as they are stored, sorted by callsign; also
// while there is no supervisor.
func KeptVirtualsOf(s *store.Store, parent string) ([]Virtual, error) {
	v, err := loadVirtuals(s)
	return v.of(parent), err
}

// put stores a definition durably.
func (v *virtuals) put(one Virtual) error {
	if err := v.kept.Put(one.Callsign, one.record()); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.defined[one.Callsign] = one
	return nil
}

// delete deletes a definition durably.
func (v *virtuals) delete(callsign string) error {
	if err := v.kept.Delete(callsign); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.defined, callsign)
	return nil
}

// find returns the definition of that callsign, also of one whose parent does not exist.
func (v *virtuals) find(callsign string) (Virtual, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	one, ok := v.defined[callsign]
	return one, ok
}

// findEqualFold is find for a callsign in upper or lower case.
func (v *virtuals) findEqualFold(callsign string) (Virtual, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return findEqualFold(v.defined, callsign)
}

// allSorted returns all definitions, sorted by callsign.
func (v *virtuals) allSorted() []Virtual {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return sortedVirtuals(v.defined)
}

// of returns the definitions of the parent's virtual plugins, sorted by callsign.
func (v *virtuals) of(parent string) []Virtual {
	return slices.DeleteFunc(v.allSorted(), func(one Virtual) bool { return one.Parent != parent })
}

// parentOf returns the parent of the instance of that callsign, empty if it is not virtual.
func (v *virtuals) parentOf(callsign string) string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.parents[callsign]
}

// childrenOf returns the instances of the parent's virtual plugins, sorted by callsign.
func (v *virtuals) childrenOf(parent string) []*shell.Shell {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.SortedFunc(maps.Values(v.children[parent]), func(a, b *shell.Shell) int { return cmp.Compare(a.Callsign(), b.Callsign()) })
}

// attach adds the instance of a virtual plugin of the parent.
func (v *virtuals) attach(parent string, sh *shell.Shell) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.children[parent] == nil {
		v.children[parent] = make(map[string]*shell.Shell)
	}
	v.children[parent][sh.Callsign()] = sh
	v.parents[sh.Callsign()] = parent
}

// detach removes the instance of a virtual plugin of the parent.
func (v *virtuals) detach(parent, callsign string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.children[parent], callsign)
	if len(v.children[parent]) == 0 {
		delete(v.children, parent)
	}
	delete(v.parents, callsign)
}

// attachVirtual makes the instance of a virtual plugin, in the state that goes with its parent's.
// The caller has begun a change of virtual plugins.
func (s *Supervisor) attachVirtual(v Virtual, parent *shell.Shell) {
	s.reattachVirtual(v, s.newVirtualShell(v, parent))
	s.events.Roster(RosterChange{Callsign: v.Callsign, Parent: v.Parent, Kind: RosterCreated})
}

// newVirtualShell makes the instance of a virtual plugin, and does not add it to the roster.
func (s *Supervisor) newVirtualShell(v Virtual, parent *shell.Shell) *shell.Shell {
	sh := shell.New(shell.Options{
		Config:           v.config(),
		HibernateTimeout: s.options.HibernateTimeout,
		Log:              s.log,
		Observer:         virtualObserver{&s.events, s},
		Requirements:     requirements{s, v.Callsign},
		Backend:          func(func() configs.Plugin, shell.Sink) shell.Backend { return virtual.New(v.Callsign, parent) },
	})
	sh.Describe(v.information())
	return sh
}

// reattachVirtual adds the instance of a virtual plugin to the roster. From then on it follows its
// parent.
func (s *Supervisor) reattachVirtual(v Virtual, sh *shell.Shell) {
	s.roster.addOrReplace(sh)
	parent, ok := s.Shell(v.Parent)
	if !ok {
		return
	}
	parent.TellState(func(state shell.State) {
		s.virtuals.attach(v.Parent, sh)
		s.conditions.setInstancePresent(v.Callsign, sh.State() == shell.Hibernated)
		sh.FollowParent(state, shell.Requested)
	})
}

// detachVirtual takes the instance of a virtual plugin off the roster, and does not end it.
func (s *Supervisor) detachVirtual(v Virtual) {
	s.roster.remove(v.Callsign)
	s.virtuals.detach(v.Parent, v.Callsign)
}

// endVirtual ends the instance of a virtual plugin that was taken off the roster.
func (s *Supervisor) endVirtual(v Virtual, sh *shell.Shell) {
	sh.DestroyVirtual(shell.Requested)
	sh.Close()
	s.events.Roster(RosterChange{Callsign: v.Callsign, Parent: v.Parent, Kind: RosterRemoved})
}

// bringBackVirtualsOf makes the instances of the virtual plugins that are kept for a parent, which
// has just been added to the roster. One whose callsign another instance has is left out.
func (s *Supervisor) bringBackVirtualsOf(parent *shell.Shell) {
	s.virtuals.changing.Lock()
	defer s.virtuals.changing.Unlock()
	for _, v := range s.virtuals.of(parent.Callsign()) {
		if err := s.roster.takenError(v.Callsign); err != nil {
			s.log.Error().Err(err).Str("callsign", v.Callsign).Str("parent", v.Parent).Msg("a virtual plugin is left out, another instance has its callsign")
			continue
		}
		s.attachVirtual(v, parent)
	}
}

// takeOffVirtualsOf ends the instances of the virtual plugins of a parent that was taken off the
// roster. What is kept of them stays for the time when the parent comes back.
func (s *Supervisor) takeOffVirtualsOf(parent string) {
	s.virtuals.changing.Lock()
	defer s.virtuals.changing.Unlock()
	children := s.virtuals.childrenOf(parent)
	for _, sh := range children {
		v := Virtual{Callsign: sh.Callsign(), Parent: parent}
		s.detachVirtual(v)
		s.endVirtual(v, sh)
	}
	if len(children) > 0 {
		s.log.Info().Str("callsign", parent).Int("count", len(children)).Msg("its virtual plugins went with it, and are kept for its return")
	}
}

// followParent has the virtual plugins of an instance follow its transition. While the plugin of
// the parent is replaced, they stay as they are.
func (s *Supervisor) followParent(t shell.Transition) {
	if t.From == t.To || t.Event == shell.Replace && t.From != shell.Activation {
		return
	}
	for _, sh := range s.virtuals.childrenOf(t.Callsign) {
		sh.FollowParent(t.To, t.Reason)
	}
}

// keptVirtualError returns why an instance of a source must not be started although its source
// names it: the callsign is that of a virtual plugin, and what is kept of that must not get to
// another plugin.
func (s *Supervisor) keptVirtualError(callsign string) error {
	v, ok := s.virtuals.findEqualFold(callsign)
	if !ok {
		return nil
	}
	return &takenByVirtualError{v}
}

// takenByVirtualError says that a callsign is that of a virtual plugin. It wraps ErrExists.
type takenByVirtualError struct{ Virtual }

func (e *takenByVirtualError) Error() string {
	return "the callsign is that of the virtual plugin " + e.Callsign + " of " + e.Parent + ": have " + e.Parent + " remove that one, destroy it, or take another callsign"
}

// Unwrap returns ErrExists.
func (e *takenByVirtualError) Unwrap() error { return ErrExists }

// virtualObserver receives the transitions and notifications of virtual plugins for the host.
type virtualObserver struct {
	*events
	s *Supervisor
}

// Transition passes a transition on to the listeners, and to the conditions on which other
// instances depend. Those are rechecked with the parent, if nothing requires the virtual plugin.
func (o virtualObserver) Transition(t shell.Transition) {
	o.events.Transition(t)
	if t.To.IsTransitional() {
		return
	}
	o.s.conditions.setInstancePresent(t.Callsign, t.To == shell.Activated || t.To.IsInSleepCycle())
	if o.s.roster.isRequired(t.Callsign) {
		o.s.recheckAllInBackground()
	}
}
