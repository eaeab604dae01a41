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
	"dormouse/internal/timelimit"
	"dormouse/shell"
	"dormouse/supervisor"
)

// healthLimit is how long a plugin may take to answer a health check. It is long, so
// that no plugin is ended because the machine is busy.
const healthLimit = 5 * time.Second

// watch is the monitor's work between Initialize and Stop.
type watch struct {
	supervisor    *supervisor.Supervisor
	sink          shell.Sink
	log           zerolog.Logger
	observables   []*observable
	polls         []*poll
	stopListening func() // ends the reports of the supervisor

	ctx     context.Context // ends when the watch is stopped
	cancel  context.CancelFunc
	mu      sync.Mutex // held while work starts, so that no work starts after ctx has ended
	working sync.WaitGroup
}

// poll is one check of one observable, repeated at an interval.
type poll struct {
	observable *observable
	every      time.Duration
	next       time.Time
	check      func(*observable, *shell.Shell)
	running    sync.Mutex // held during a check; a slow check misses its next times
}

var _ supervisor.Listener = (*watch)(nil)

// newWatch returns a watch that has not been started.
func newWatch(s *supervisor.Supervisor, sink shell.Sink, log zerolog.Logger, configured []settings) *watch {
	w := &watch{supervisor: s, sink: sink, log: log}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	now := time.Now()
	for _, c := range configured {
		o := &observable{settings: c}
		w.observables = append(w.observables, o)
		if c.memory > 0 {
			w.polls = append(w.polls, &poll{observable: o, every: c.memory, next: now.Add(c.memory), check: w.measureAndDeactivateOverLimit})
		}
		if c.operational > 0 {
			w.polls = append(w.polls, &poll{observable: o, every: c.operational, next: now.Add(c.operational), check: w.checkHealthOrDeactivate})
		}
	}
	return w
}

// start begins to listen to transitions and to run the polls.
func (w *watch) start() {
	w.stopListening = w.supervisor.Listen(w)
	if len(w.polls) > 0 {
		w.goUnlessStopped(w.runDuePollsUntilStopped)
	}
}

// stop ends the watch. It returns when no goroutine of it runs any more, or with an
// error when ctx ends.
func (w *watch) stop(ctx context.Context) error {
	w.stopListening()
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
		return fmt.Errorf("an instance is still being started or ended: %w", timelimit.EndError(ctx))
	}
}

// goUnlessStopped runs work in a goroutine, unless the watch was stopped.
func (w *watch) goUnlessStopped(work func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ctx.Err() == nil {
		w.working.Go(work)
	}
}

// runDuePollsUntilStopped runs each poll in a goroutine whenever the poll is due, until
// the watch is stopped.
func (w *watch) runDuePollsUntilStopped() {
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
		w.goUnlessStopped(func() { w.runPollUnlessRunning(p) })
	}
}

// runPollUnlessRunning checks the observable, unless the last check of the same poll still
// runs or the observable is not activated.
func (w *watch) runPollUnlessRunning(p *poll) {
	if !p.running.TryLock() {
		return
	}
	defer p.running.Unlock()
	if sh, ok := w.supervisor.Shell(p.observable.callsign); ok && sh.State() == shell.Activated {
		p.check(p.observable, sh)
	}
}

// measureAndDeactivateOverLimit measures all processes of the plugin without its pid 1,
// and deactivates a plugin that exceeds the limit in the settings. It does nothing for a
// built-in, which has no processes.
func (w *watch) measureAndDeactivateOverLimit(o *observable, sh *shell.Shell) {
	figures := sh.Status().Figures
	if figures.Root == 0 {
		return
	}
	usage := procfs.MeasureMemory(procfs.Tree(figures.Root)[1:])
	if usage.Processes == 0 || sh.State() != shell.Activated { // the plugin ended meanwhile
		return
	}
	o.addMeasurement(usage, figures.Charged)
	if o.memoryLimit > 0 && usage.Resident > o.memoryLimit {
		w.log.Warn().Str("observable", o.callsign).Int64("resident", usage.Resident).Int64("limit", o.memoryLimit).
			Msg("an instance took more memory than it may")
		w.reportAndDeactivateIfActive(o, sh, exceededMemory)
	}
}

// checkHealthOrDeactivate sends the plugin a health check and notes the outcome. It
// deactivates a plugin that fails the check, unless the settings say observeOnly. A plugin
// that became unavailable meanwhile has not failed.
func (w *watch) checkHealthOrDeactivate(o *observable, sh *shell.Shell) {
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
		w.reportAndDeactivateIfActive(o, sh, notOperational)
	}
}

// reportAndDeactivateIfActive sends the events of the deactivation and deactivates an
// observable, unless the monitor is doing so already or the observable is not activated
// any more. It logs an error.
func (w *watch) reportAndDeactivateIfActive(o *observable, sh *shell.Shell, why cause) {
	if !o.ending.TryLock() {
		return
	}
	defer o.ending.Unlock()
	if sh.State() != shell.Activated {
		return
	}
	w.sendEvents(o, deactivated, why.legacy, why.text)
	if err := sh.DeactivateIfActive(w.ctx, why.reason); err != nil {
		w.log.Error().Err(err).Str("observable", o.callsign).Msg("could not end an instance")
	}
	o.setHealth(true) // the next process has failed no check yet
}

// Transition begins to restart an observable that was deactivated because its plugin failed
// or exceeded its memory. It does not repeat an activation or a wake that failed.
func (w *watch) Transition(t shell.Transition) {
	ended := t.From == shell.Deactivation && t.To == shell.Deactivated
	if o := w.findObservable(t.Callsign); o != nil && ended && (t.Reason == shell.Failure || t.Reason == shell.MemoryExceeded) {
		w.goUnlessStopped(func() { w.restartObservableIfAllowed(o, t.At) })
	}
}

// restartObservableIfAllowed activates an observable whose plugin ended at the time failedAt,
// and sends the events of that. It does nothing if the settings say observeOnly or have no
// restart limits, or if the instance has a restart policy of its own. If the limits do not
// allow another restart, it sends the events of that instead.
func (w *watch) restartObservableIfAllowed(o *observable, failedAt time.Time) {
	sh, ok := w.supervisor.Shell(o.callsign)
	if !ok || sh.State() != shell.Deactivated || o.observeOnly || sh.Config().Restart.Policy != configs.RestartNever {
		return
	}
	switch l, allowed := o.countRestartOrResetCount(failedAt); {
	case l == nil:
	case !allowed:
		w.log.Error().Str("observable", o.callsign).Int64("limit", l.Limit).Int64("window", l.Window).
			Msg("stopped restarting an instance that keeps failing")
		w.sendEvents(o, stopped, fmt.Sprintf("%d attempts failed within the restart window", l.Limit), "")
	default:
		w.sendEvents(o, activated, "Automatic", "")
		_ = sh.Activate(w.ctx, shell.Automatic) // the shell has logged and kept the error
	}
}

// Notification does nothing: the monitor needs transitions only.
func (w *watch) Notification(string, shell.Notification) {}

// Subsystems does nothing: the monitor needs transitions only.
func (w *watch) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (w *watch) Roster(supervisor.RosterChange) {}

// findObservable returns the observable of that callsign, nil if the monitor does
// not watch it.
func (w *watch) findObservable(callsign string) *observable {
	i := slices.IndexFunc(w.observables, func(o *observable) bool { return o.callsign == callsign })
	if i < 0 {
		return nil
	}
	return w.observables[i]
}
