package supervisor

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/bytesize"
	"dormouse/internal/memory"
	"dormouse/supervisor/policy"
)

// firstNeed is the part of the memory that the first steps under memory pressure are to
// free: the kernel tells that memory is short, but not how much is missing. Each look that
// finds the pressure unchanged doubles the part.
const firstNeed = 16

// memoryWatch finds out whether the machine's memory is short, and how much is needed.
type memoryWatch struct {
	AutoSleep
	log zerolog.Logger

	mu           sync.Mutex
	unwatchedErr error // why the kernel reports no pressure
	pressure     pressure
	trend        memoryTrend
	quietUntil   time.Time // no shortage is found before, since the last one was only logged
}

// pressure is what is known of the memory pressure. The zero value is none.
type pressure struct {
	present bool
	rounds  int // how many looks have found it, and were followed by steps
	// relieved reports whether steps were taken at the moment since, whose effect the look
	// at lookAt will show.
	relieved bool
	since    time.Time
	stalled  time.Duration // what memory.StalledTime was at since
	lookAt   time.Time
}

// newMemoryWatch returns a memoryWatch that asks the kernel where o has no function for
// that.
func newMemoryWatch(o AutoSleep, log zerolog.Logger) *memoryWatch {
	if o.Available == nil {
		o.Available = memory.AvailableBytes
	}
	if o.Total == nil {
		o.Total = memory.TotalBytes
	}
	if o.Watch == nil {
		o.Watch, o.Stalled = memory.WatchPressure, memory.StalledTime
	}
	return &memoryWatch{AutoSleep: o, log: log}
}

// watchPressure notes the pressure that the kernel reports and then calls report, until ctx
// ends. If the kernel can't report pressure, watchPressure logs that, keeps the error for
// whyPressureUnwatched, and returns.
func (w *memoryWatch) watchPressure(ctx context.Context, report func()) {
	err := w.Watch(ctx, w.stall(), w.window(), func() {
		if w.notePressure(time.Now()) {
			report()
		}
	})
	if err == nil {
		return
	}
	w.mu.Lock()
	w.unwatchedErr = err
	w.mu.Unlock()
	if w.Rules.MemoryAvailable > 0 {
		w.log.Warn().Err(err).Stringer("memory-available", w.Rules.MemoryAvailable).Msg("memory is short only when less is available: the kernel does not tell of pressure")
		return
	}
	w.log.Warn().Err(err).Msg("nothing sleeps for want of memory: the kernel does not tell of it, set memory-available")
}

func (w *memoryWatch) stall() time.Duration  { return time.Duration(w.Rules.PressureSome) }
func (w *memoryWatch) window() time.Duration { return time.Duration(w.Rules.PressureWindow) }

// lookInterval is how long after steps their effect on the pressure can be seen.
func (w *memoryWatch) lookInterval() time.Duration { return w.window() / 8 }

// whyPressureUnwatched returns why the kernel can't report memory pressure, nil if it
// can.
func (w *memoryWatch) whyPressureUnwatched() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unwatchedErr
}

// notePressure notes a report of the kernel, and returns whether it is news: a report within
// a window after steps were taken may be about the time before, and counts only if
// processes have waited for as long again since.
func (w *memoryWatch) notePressure(now time.Time) (isNews bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := &w.pressure
	if p.relieved && now.Before(p.since.Add(w.window())) && w.stalledSince(p) < w.stall() {
		return false
	}
	if !p.present {
		p.rounds = 0
	}
	p.present, p.relieved = true, false
	w.beginLook(p, now)
	return true
}

// stalledSince returns how long processes have waited for memory since the last look.
func (w *memoryWatch) stalledSince(p *pressure) time.Duration {
	now, err := w.Stalled()
	if err != nil {
		w.log.Warn().Err(err).Msg("cannot tell how long processes waited for memory")
		return 0
	}
	return now - p.stalled
}

// beginLook has the next look at the pressure measure from now on. The caller holds w.mu.
func (w *memoryWatch) beginLook(p *pressure, now time.Time) {
	stalled, err := w.Stalled()
	if err != nil {
		w.log.Warn().Err(err).Msg("cannot tell how long processes waited for memory")
	}
	p.since, p.stalled, p.lookAt = now, stalled, now.Add(w.lookInterval())
}

// noteLoggedSteps notes that steps were only logged: no shortage is found for two windows.
func (w *memoryWatch) noteLoggedSteps(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.quietUntil = now.Add(2 * w.window())
}

// noteSteps notes that plugins were put to sleep for want of memory, which took so long:
// pressure is looked at again when the effect shows.
func (w *memoryWatch) noteSteps(now time.Time, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trend.restart(took)
	if w.pressure.present {
		w.pressure.relieved = true
		w.pressure.rounds++
		w.beginLook(&w.pressure, now)
	}
}

// measure returns how short memory is now, how much of it is available (0 if no rule asks
// for that), and when to look at the pressure again, zero for not before the kernel reports
// some.
func (w *memoryWatch) measure(now time.Time) (s policy.Shortage, available int64, lookAgain time.Time) {
	if w.Rules.Pressure == configs.PressureOff {
		return s, 0, lookAgain
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s, available = w.lackOfAvailable(now)
	if s.Because == "" {
		s, lookAgain = w.lackByPressure(now)
	}
	if now.Before(w.quietUntil) {
		return policy.Shortage{}, available, w.quietUntil
	}
	return s, available, lookAgain
}

// lackOfAvailable compares with the key memory-available what will be available by the time
// that sleeps can free memory. It returns no shortage if the key is not set or the memory
// can't be measured, which is logged.
func (w *memoryWatch) lackOfAvailable(now time.Time) (s policy.Shortage, available int64) {
	floor := int64(w.Rules.MemoryAvailable)
	if floor == 0 {
		return s, 0
	}
	available, err := w.Available()
	if err != nil {
		w.log.Warn().Err(err).Msg("cannot tell how much memory is available")
		return s, 0
	}
	w.trend.add(now, available)
	loss := w.trend.expectedLoss()
	if available-loss >= floor {
		return s, available
	}
	s.Because = fmt.Sprintf("%s of memory are available, the floor is %s", bytesize.Format(available), w.Rules.MemoryAvailable)
	if available >= floor {
		s.Because = fmt.Sprintf("%s of memory are available, soon %s less: the floor is %s", bytesize.Format(available), bytesize.Format(loss), w.Rules.MemoryAvailable)
	}
	s.Needed = floor + loss - available
	return s, available
}

// lackByPressure looks at the pressure if that is due, and returns the shortage that it
// means. Between steps and the look at their effect there is no shortage.
func (w *memoryWatch) lackByPressure(now time.Time) (s policy.Shortage, lookAgain time.Time) {
	p := &w.pressure
	if !p.present {
		return s, time.Time{}
	}
	if !now.Before(p.lookAt) {
		enough := time.Duration(float64(w.stall()) * float64(now.Sub(p.since)) / float64(w.window()))
		if w.stalledSince(p) < enough {
			p.present = false
			return s, time.Time{}
		}
		p.relieved = false
		w.beginLook(p, now)
	}
	if p.relieved {
		return s, p.lookAt
	}
	total, err := w.Total()
	if err != nil {
		w.log.Warn().Err(err).Msg("cannot tell how much memory there is")
	}
	s.Because = fmt.Sprintf("processes waited for memory for %s within %s", w.Rules.PressureSome, w.Rules.PressureWindow)
	s.Needed = total / firstNeed << min(p.rounds, 4)
	return s, p.lookAt
}
