package supervisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/memory"
	"dormouse/internal/store"
	"dormouse/shell"
)

// Tiers is what puts plugins to sleep by itself.
type Tiers struct {
	Rules configs.Tiers
	// Available is how many bytes can be had; the machine's when nil.
	Available func() (int64, error)
	// Watch calls tell whenever some task stood still for want of memory for so
	// long within the window, until ctx ends; the kernel's when nil.
	Watch func(ctx context.Context, some, window time.Duration, tell func()) error
}

const (
	// firstPause follows on an attempt that failed, and doubles with each more.
	firstPause, longestPause = 10 * time.Second, time.Hour
	// secondThought follows on one that was overtaken by a call or an operation.
	secondThought = time.Second
	// turnLimit is how long a step may wait for its turn in the lane.
	turnLimit = 10 * time.Second
)

// tiers decides what the host does with instances that nobody uses, one step at
// a time.
type tiers struct {
	Tiers
	s      *Supervisor
	kept   store.Bucket[idledRecord]
	change chan struct{} // of one: there may be something to decide

	saving sync.Mutex

	mu      sync.Mutex
	trials  map[string]*trial
	pressed time.Time // when the kernel told of pressure last
	settled time.Time // when what was done about it will have shown
	blind   error     // why the kernel does not tell
}

// idledRecord tells the next host that this one suspended the instance.
type idledRecord struct {
	Version int  `json:"version"`
	Idled   bool `json:"idled"`
}

func newTiers(s *Supervisor) *tiers {
	t := &tiers{
		Tiers: s.options.Tiers, s: s, kept: store.In[idledRecord](s.options.Store, "idled"),
		change: make(chan struct{}, 1), trials: make(map[string]*trial),
	}
	if t.Rules.Pressure == "" {
		t.Rules.Pressure = configs.PressureOff
	}
	if t.Available == nil {
		t.Available = memory.Available
	}
	if t.Watch == nil {
		t.Watch = memory.WatchPressure
	}
	return t
}

// remind tells those who were hibernated when the host before ended what it had
// done with them.
func (t *tiers) remind() error {
	all, err := t.kept.All()
	for callsign, record := range all {
		if sh, ok := t.s.Shell(callsign); ok && record.Idled && sh.State() == shell.Hibernated {
			sh.KeepIdled()
		}
	}
	return err
}

// begin decides in the background until the host stops.
func (t *tiers) begin() {
	if t.Rules.Pressure != configs.PressureOff {
		t.s.later(t.watch)
	}
	t.s.later(t.run)
	t.look()
}

func (t *tiers) watch() {
	err := t.Watch(t.s.ctx, time.Duration(t.Rules.PressureSome), time.Duration(t.Rules.PressureWindow), func() {
		t.mu.Lock()
		t.pressed = time.Now()
		t.mu.Unlock()
		t.look()
	})
	if err == nil {
		return
	}
	t.mu.Lock()
	t.blind = err
	t.mu.Unlock()
	if t.Rules.MemoryAvailable > 0 {
		t.s.log.Warn().Err(err).Stringer("memory-available", t.Rules.MemoryAvailable).Msg("memory is short only when less is available: the kernel does not tell of pressure")
		return
	}
	t.s.log.Warn().Err(err).Msg("nothing sleeps for want of memory: the kernel does not tell of it, set memory-available")
}

// look has it decided soon whether there is something to do.
func (t *tiers) look() {
	select {
	case t.change <- struct{}{}:
	default:
	}
}

func (t *tiers) run() {
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-t.s.ctx.Done():
			return
		case <-t.change:
		case <-timer.C:
		}
		timer.Stop()
		m, again := t.situation().decide()
		for ; m != nil && !t.s.stopping(); m, again = t.situation().decide() {
			t.carryOut(m)
		}
		if !again.IsZero() {
			timer.Reset(max(0, time.Until(again)))
		}
	}
}

// situation looks at everything.
func (t *tiers) situation() situation {
	w := situation{rules: t.Rules, now: time.Now()}
	for _, sh := range t.s.Shells() {
		if !sh.InProcess() {
			w.all = append(w.all, t.standing(sh))
		}
	}
	floor := t.floor()
	t.mu.Lock()
	defer t.mu.Unlock()
	w.settled = t.settled
	switch fresh := w.now.Add(-2 * time.Duration(t.Rules.PressureWindow)); {
	case floor != "":
		w.short = floor
	case t.pressed.After(fresh) && !t.pressed.Before(t.settled):
		w.short = fmt.Sprintf("tasks stood still for want of memory for %s within %s", t.Rules.PressureSome, t.Rules.PressureWindow)
	}
	return w
}

func (t *tiers) standing(sh *shell.Shell) standing {
	s := standing{callsign: sh.Callsign(), config: sh.Config(), use: sh.Use()}
	if t.Rules.BudgetBytes > 0 && s.use.State == shell.Activated {
		s.memory = sh.Status().Facts.Memory
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if known := t.trials[s.callsign]; known != nil {
		s.trial = *known
	}
	return s
}

// floor says that less memory is available than there should be, if so.
func (t *tiers) floor() string {
	if t.Rules.Pressure == configs.PressureOff || t.Rules.MemoryAvailable == 0 {
		return ""
	}
	available, err := t.Available()
	switch {
	case err != nil:
		t.s.log.Warn().Err(err).Msg("cannot tell how much memory is available")
	case available < int64(t.Rules.MemoryAvailable):
		return fmt.Sprintf("%s of memory are available, the floor is %s", configs.Bytes(available&^1023), t.Rules.MemoryAvailable)
	}
	return ""
}

// carryOut takes the step that was decided on, and keeps what came of it.
func (t *tiers) carryOut(m *move) {
	log := t.s.log.Info().Str("callsign", m.callsign).Str("because", m.because)
	if m.dry {
		log.Msgf("would %s the plugin", m.do)
	} else {
		log.Msgf("about to %s the plugin", m.do)
	}
	var err error
	if !m.dry {
		err = t.take(m)
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if m.pressure && (m.dry || m.do != suspending) {
		t.settled = now.Add(2 * time.Duration(t.Rules.PressureWindow))
	}
	known := t.trials[m.callsign]
	if known == nil {
		known = &trial{}
		t.trials[m.callsign] = known
	}
	known.note(m, err, now)
}

func (t *tiers) take(m *move) error {
	sh, ok := t.s.Shell(m.callsign)
	if !ok {
		return ErrUnknown
	}
	ctx, cancel := context.WithTimeout(t.s.ctx, turnLimit)
	defer cancel()
	switch m.do {
	case suspending:
		return sh.SuspendIdle(ctx, m.use.Last)
	case deepening:
		return sh.MoveToDisk(ctx, shell.Automatic, 0)
	default:
		return sh.HibernateIdle(ctx, m.use.Last)
	}
}

// note keeps what came of an attempt.
func (t *trial) note(m *move, err error, now time.Time) {
	switch {
	case m.dry && m.do == suspending:
		t.toldSuspend = m.use.Last
	case m.dry:
		t.toldHibernate = m.use.Last
	case err == nil:
		*t = trial{}
	case errors.Is(err, shell.ErrInUse), errors.Is(err, shell.ErrIllegalState), errors.Is(err, shell.ErrInProgress), errors.Is(err, ErrUnknown):
		t.after = now.Add(secondThought) // it is another than it was
	case errors.Is(err, hibernate.ErrObstacle) && !errors.Is(err, hibernate.ErrPassing), errors.Is(err, shell.ErrNotSupported):
		t.err, t.hopeless = err, true
	default:
		pause := firstPause
		for range t.failures {
			pause = min(2*pause, longestPause)
		}
		t.failures++
		t.err, t.after = err, now.Add(pause)
	}
}

// observe follows what happens to instances. It must not block.
func (t *tiers) observe(tr shell.Transition) {
	switch tr.To {
	case shell.Activation:
		t.forget(tr.Callsign)
	case shell.Destroyed:
		t.forget(tr.Callsign)
		t.s.later(func() { t.save(tr.Callsign) })
	case shell.Hibernating:
		t.s.later(func() { t.save(tr.Callsign) })
	default:
	}
	t.look()
}

// forget makes past attempts count no more: the plugin is another one now.
func (t *tiers) forget(callsign string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.trials, callsign)
}

// save keeps for the next host whether this one suspended the instance.
func (t *tiers) save(callsign string) {
	t.saving.Lock()
	defer t.saving.Unlock()
	_, known, err := t.kept.Get(callsign)
	sh, there := t.s.Shell(callsign)
	switch idled := there && sh.Use().Idled; {
	case err != nil:
	case idled && !known:
		err = t.kept.Put(callsign, idledRecord{recordVersion, true})
	case !idled && known:
		err = t.kept.Delete(callsign)
	}
	if err != nil {
		t.s.log.Error().Err(err).Str("callsign", callsign).Msg("could not keep that the plugin is to be resumed when it is used")
	}
}
