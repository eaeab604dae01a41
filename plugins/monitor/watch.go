package monitor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/supervisor"
)

// healthLimit is how long a plugin may take to say that it is well. A busy
// machine is no reason to end one.
const healthLimit = 5 * time.Second

// watch is what goes on between Initialize and Stop.
type watch struct {
	supervisor  *supervisor.Supervisor
	sink        shell.Sink
	log         zerolog.Logger
	observables []*observable
	polls       []*poll
	deaf        func() // ends the listening

	ctx     context.Context // ends with the watch
	cancel  context.CancelFunc
	mu      sync.Mutex // held to begin work, so that none is once ctx has ended
	working sync.WaitGroup
}

// poll is what is done to one observable again and again.
type poll struct {
	of    *observable
	every time.Duration
	next  time.Time
	do    func(*observable, *shell.Shell)
	turn  sync.Mutex // held while it is done: a slow one misses its next times
}

var _ supervisor.Listener = (*watch)(nil)

func newWatch(s *supervisor.Supervisor, sink shell.Sink, log zerolog.Logger, configured []settings) *watch {
	w := &watch{supervisor: s, sink: sink, log: log}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	now := time.Now()
	for _, c := range configured {
		o := newObservable(c)
		w.observables = append(w.observables, o)
		if c.memory > 0 {
			w.polls = append(w.polls, &poll{of: o, every: c.memory, next: now.Add(c.memory), do: w.measure})
		}
		if c.operational > 0 {
			w.polls = append(w.polls, &poll{of: o, every: c.operational, next: now.Add(c.operational), do: w.checkHealth})
		}
	}
	return w
}

func (w *watch) start() {
	w.deaf = w.supervisor.Listen(w)
	if len(w.polls) > 0 {
		w.begin(w.run)
	}
}

// stop returns when nothing of the watch runs any more, or with ctx.
func (w *watch) stop(ctx context.Context) error {
	w.deaf()
	w.mu.Lock()
	w.cancel()
	w.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		w.working.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("an instance is still being started or ended: %w", ctx.Err())
	}
}

// begin runs work beside, unless the watch has ended.
func (w *watch) begin(work func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.working.Go(work)
	}
}

// run begins each poll at its times. It does nothing slow itself.
func (w *watch) run() {
	for {
		p := slices.MinFunc(w.polls, func(a, b *poll) int { return a.next.Compare(b.next) })
		select {
		case <-time.After(time.Until(p.next)):
		case <-w.ctx.Done():
			return
		}
		for now := time.Now(); !p.next.After(now); {
			p.next = p.next.Add(p.every)
		}
		w.begin(func() { w.do(p) })
	}
}

// do polls an observable that is activated. Any other is left alone.
func (w *watch) do(p *poll) {
	if !p.turn.TryLock() {
		return
	}
	defer p.turn.Unlock()
	if sh, ok := w.supervisor.Shell(p.of.callsign); ok && sh.State() == shell.Activated {
		p.do(p.of, sh)
	}
}

// measure takes the figures of all that the plugin started. A part of the host
// has none of its own.
func (w *watch) measure(o *observable, sh *shell.Shell) {
	facts := sh.Status().Facts
	if facts.Root == 0 {
		return
	}
	usage := procfs.Measure(procfs.Tree(facts.Root)[1:])
	if usage.Processes == 0 || sh.State() != shell.Activated { // it was on its way out
		return
	}
	o.add(usage, facts.Charged)
	if o.memoryLimit > 0 && usage.Resident > o.memoryLimit {
		w.log.Warn().Str("observable", o.callsign).Int64("resident", usage.Resident).Int64("limit", o.memoryLimit).
			Msg("an instance took more memory than it may")
		w.end(o, sh, exceededMemory)
	}
}

func (w *watch) checkHealth(o *observable, sh *shell.Shell) {
	ctx, cancel := context.WithTimeout(w.ctx, healthLimit)
	defer cancel()
	err := sh.CheckHealth(ctx)
	if w.ctx.Err() != nil || errors.Is(err, shell.ErrUnavailable) {
		return
	}
	o.setHealth(err == nil)
	if err == nil {
		return
	}
	w.log.Warn().Err(err).Str("observable", o.callsign).Msg("an instance is not operational")
	if !o.observeOnly {
		w.end(o, sh, notOperational)
	}
}

// end ends an observable, unless that is being done already.
func (w *watch) end(o *observable, sh *shell.Shell, why cause) {
	if !o.ending.TryLock() {
		return
	}
	defer o.ending.Unlock()
	if sh.State() != shell.Activated {
		return
	}
	w.tell(o, deactivated, why.legacy, why.text)
	if err := sh.DeactivateIfActive(w.ctx, why.reason); err != nil {
		w.log.Error().Err(err).Str("observable", o.callsign).Msg("could not end an instance")
	}
	o.setHealth(true) // whatever is started next begins anew
}

// Transition has an observable that failed started again. An activation or a
// wake that failed is none that could be repeated with a better outcome.
func (w *watch) Transition(t shell.Transition) {
	ended := t.From == shell.Deactivation && t.To == shell.Deactivated
	if o := w.find(t.Callsign); o != nil && ended && (t.Reason == shell.Failure || t.Reason == shell.MemoryExceeded) {
		w.begin(func() { w.restart(o, t.At) })
	}
}

// restart starts an observable again that failed then, if it may.
func (w *watch) restart(o *observable, then time.Time) {
	sh, ok := w.supervisor.Shell(o.callsign)
	if !ok || sh.State() != shell.Deactivated || o.observeOnly || sh.Config().Restart.Policy != configs.RestartNever {
		return
	}
	switch l, allowed := o.allow(then); {
	case l == nil:
	case !allowed:
		w.log.Error().Str("observable", o.callsign).Int64("limit", l.Limit).Int64("window", l.Window).
			Msg("stopped restarting an instance that keeps failing")
		w.tell(o, stopped, fmt.Sprintf("%d attempts failed within the restart window", l.Limit), "")
	default:
		w.tell(o, activated, "Automatic", "")
		_ = sh.Activate(w.ctx, shell.Automatic) // the shell has logged and kept the error
	}
}

// Notification and Subsystems are other people's affairs.
func (w *watch) Notification(string, shell.Notification) {}

// Subsystems does nothing, see Notification.
func (w *watch) Subsystems([]supervisor.Subsystem) {}

// find returns the observable of that callsign, nil when it is none.
func (w *watch) find(callsign string) *observable {
	i := slices.IndexFunc(w.observables, func(o *observable) bool { return o.callsign == callsign })
	if i < 0 {
		return nil
	}
	return w.observables[i]
}
