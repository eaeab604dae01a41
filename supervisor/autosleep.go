package supervisor

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/internal/memory"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/supervisor/policy"
)

// AutoSleep configures how the host puts plugins to sleep by itself. With the zero
// value only the plugins' own idle times do so.
type AutoSleep struct {
	Rules configs.Tiers
	// Available returns how many bytes of memory are available; nil asks the kernel.
	Available func() (int64, error)
	// Total returns how many bytes of memory there are; nil asks the kernel.
	Total func() (int64, error)
	// Parallel is how many instances may go to sleep side by side; 0 means one for each
	// processor.
	Parallel int
	// Watch calls report whenever threads had to wait for memory for the time some within
	// window, until ctx ends, or returns an error if it can't find that out; nil asks the
	// kernel.
	Watch func(ctx context.Context, some, window time.Duration, report func()) error
	// Stalled returns how long threads have waited for memory since the machine started.
	// It is set if Watch is.
	Stalled func() (time.Duration, error)
	// Provision is what is kept ready for the steps that are taken for want of memory; nil
	// for nothing.
	Provision *memory.Provision
}

// laneTimeout is how long a step may wait for its turn in the instance's lane.
const laneTimeout = 10 * time.Second

// autoSleep asks the policy which instances sleep next, and carries out its decisions.
type autoSleep struct {
	s      *Supervisor
	rules  configs.Tiers
	memory *memoryWatch
	// parallel is how many instances may go to sleep side by side.
	parallel   int
	unprovided bool // the last refillProvision failed; used by runDecisionLoop alone
	notes      durableNotes[idledRecord]
	changed    chan struct{} // holds one value while a decision is due

	mu       sync.Mutex
	attempts map[string]*policy.SleepAttempts // by callsign
	took     map[string]time.Duration         // how long the last hibernation took, by callsign
}

// idledRecord tells the next host that this host suspended the instance.
type idledRecord struct {
	Version int  `json:"version"`
	Idled   bool `json:"idled"`
}

// newAutoSleep returns the autoSleep of a host, which does nothing until start.
func newAutoSleep(s *Supervisor) *autoSleep {
	o := s.options.AutoSleep
	if o.Rules.Pressure == "" {
		o.Rules.Pressure = configs.PressureOff
	}
	if o.Parallel == 0 {
		o.Parallel = runtime.NumCPU()
	}
	a := &autoSleep{
		s: s, rules: o.Rules, memory: newMemoryWatch(o, s.log), parallel: o.Parallel,
		changed: make(chan struct{}, 1), attempts: make(map[string]*policy.SleepAttempts), took: make(map[string]time.Duration),
	}
	a.notes = durableNotes[idledRecord]{
		Bucket: store.BucketOf[idledRecord](s.options.Store, "idled"),
		current: func(callsign string) (idledRecord, bool) {
			sh, ok := s.Shell(callsign)
			return idledRecord{recordVersion, true}, ok && sh.UseStatus().IdleSuspended
		},
		log: s.log, key: "callsign", failure: "could not keep that the plugin is to be resumed when it is used",
	}
	return a
}

// restoreIdleSuspendedMarks marks the hibernated instances that the earlier host had
// suspended because they were idle, so that a wake resumes them too. The error is that of
// the store.
func (a *autoSleep) restoreIdleSuspendedMarks() error {
	notes, err := a.notes.All()
	for callsign, note := range notes {
		if sh, ok := a.s.Shell(callsign); ok && note.Idled && sh.State() == shell.Hibernated {
			sh.NoteIdleSuspended()
		}
	}
	return err
}

// startInBackground watches memory pressure, if the rules ask for that, and carries out
// decisions, both in the background until the host stops.
func (a *autoSleep) startInBackground() {
	if a.rules.Pressure != configs.PressureOff {
		a.s.startBackground(func() { a.memory.watchPressure(a.s.ctx, a.decideSoon) })
	}
	a.s.startBackground(a.runDecisionLoop)
	a.decideSoon()
}

// decideSoon has runDecisionLoop decide again, because something has changed. It never
// blocks.
func (a *autoSleep) decideSoon() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

// runDecisionLoop carries out decisions until the host stops: whenever decideSoon is
// called, and at the time that the policy has named.
func (a *autoSleep) runDecisionLoop() {
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-a.s.ctx.Done():
			return
		case <-a.changed:
		case <-timer.C:
		}
		timer.Stop()
		steps, again := a.measureSituation().Decide()
		for ; steps != nil && !a.s.isStopping(); steps, again = a.measureSituation().Decide() {
			a.carryOutSideBySide(steps)
		}
		if !again.IsZero() {
			timer.Reset(max(0, time.Until(again)))
		}
	}
}

// measureSituation returns everything that the policy decides on, as it is now. It
// measures the memory of plugins and of the machine only where the rules need that.
func (a *autoSleep) measureSituation() policy.Situation {
	now := policy.Situation{Rules: a.rules, Now: time.Now(), Parallel: a.parallel}
	now.Shortage, now.Available, now.LookAgain = a.memory.measure(now.Now)
	if now.Shortage.Because == "" {
		a.refillProvision()
	}
	for _, sh := range a.s.Shells() {
		if sh.IsBuiltIn() || sh.IsVirtual() {
			continue
		}
		c := a.candidateWithoutMemory(sh)
		if c.Use.State == shell.Activated && (a.rules.BudgetBytes > 0 || now.Shortage.Because != "") {
			c.Memory = sh.Status().Figures.Memory
		}
		now.Candidates = append(now.Candidates, c)
	}
	return now
}

// candidateWithoutMemory returns an instance as the policy sees it, without its memory.
func (a *autoSleep) candidateWithoutMemory(sh *shell.Shell) policy.Candidate {
	c := policy.Candidate{Callsign: sh.Callsign(), Config: sh.Config(), Use: sh.UseStatus()}
	a.mu.Lock()
	defer a.mu.Unlock()
	if attempts := a.attempts[c.Callsign]; attempts != nil {
		c.Attempts = *attempts
	}
	c.LastSleepTook = a.took[c.Callsign]
	return c
}

// carryOutSideBySide carries out the steps and returns when all have ended. For those
// that are taken for want of memory it gives the provision free before.
func (a *autoSleep) carryOutSideBySide(steps []*policy.Decision) {
	short, onlyLogs, begun := steps[0].ShortOfMemory, steps[0].DryRun, time.Now()
	if short && !onlyLogs {
		a.memory.Provision.Release()
	}
	var running sync.WaitGroup
	for _, d := range steps {
		running.Go(func() { a.carryOutAndRecord(d) })
	}
	running.Wait()
	now := time.Now()
	putsToSleep := func(d *policy.Decision) bool { return d.Tier != policy.Suspend }
	switch {
	case short && onlyLogs:
		a.memory.noteLoggedSteps(now)
	case short && slices.ContainsFunc(steps, putsToSleep):
		a.memory.noteSteps(now, now.Sub(begun))
	}
}

// carryOutAndRecord logs and takes a step, or only logs the step in a dry run, and
// records the outcome.
func (a *autoSleep) carryOutAndRecord(d *policy.Decision) {
	sh, ok := a.s.Shell(d.Callsign)
	if !ok {
		return
	}
	log := a.s.log.Info().Str("callsign", d.Callsign).Str("because", d.Because)
	var err error
	begun := time.Now()
	if d.DryRun {
		log.Msgf("would %s the plugin", d.Tier)
	} else {
		log.Msgf("about to %s the plugin", d.Tier)
		err = a.takeStep(sh, d)
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil && !d.DryRun && d.Tier == policy.Hibernate {
		a.took[d.Callsign] = now.Sub(begun)
	}
	attempts := a.attempts[d.Callsign]
	if attempts == nil {
		attempts = &policy.SleepAttempts{}
		a.attempts[d.Callsign] = attempts
	}
	attempts.RecordOutcome(d, err, now)
}

// refillProvision takes the memory again that Release gave free. If there is too little
// for that, it is tried again with the next decision.
func (a *autoSleep) refillProvision() {
	err := a.memory.Provision.Refill()
	if err != nil && !a.unprovided {
		a.s.log.Warn().Err(err).Msg("nothing is kept ready for sleeps when memory is short")
	}
	a.unprovided = err != nil
}

// takeStep suspends, hibernates or moves an instance to disk, as d says. It fails if the
// instance was used since the decision (shell.ErrInUse), or if its turn does not come
// within laneTimeout.
func (a *autoSleep) takeStep(sh *shell.Shell, d *policy.Decision) error {
	ctx, cancel := context.WithTimeout(a.s.ctx, laneTimeout)
	defer cancel()
	switch d.Tier {
	case policy.Suspend:
		return sh.SuspendIdle(ctx, d.Use.LastUse)
	case policy.MoveToDisk:
		return sh.MoveToDisk(ctx, shell.Automatic, 0)
	default:
		return sh.HibernateIdle(ctx, d.Use.LastUse)
	}
}

// noteTransitionAndDecideSoon forgets the attempts of an instance that is started or
// destroyed, updates the note of one that is hibernated or destroyed in the background,
// and has runDecisionLoop decide again. It must not block.
func (a *autoSleep) noteTransitionAndDecideSoon(t shell.Transition) {
	switch t.To {
	case shell.Activation, shell.Destroyed: // earlier attempts say nothing about the next process
		a.mu.Lock()
		delete(a.attempts, t.Callsign)
		if t.To == shell.Destroyed {
			delete(a.took, t.Callsign)
		}
		a.mu.Unlock()
	default:
	}
	if t.To == shell.Destroyed || t.To == shell.Hibernating {
		a.s.startBackground(func() { a.notes.saveOrDeleteNote(t.Callsign) })
	}
	a.decideSoon()
}
