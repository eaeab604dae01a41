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
)

// memoryWatch finds out whether the machine's memory is short.
type memoryWatch struct {
	AutoSleep
	log zerolog.Logger

	mu           sync.Mutex
	pressedAt    time.Time // when the kernel last reported pressure
	unwatchedErr error     // why the kernel reports none
}

// newMemoryWatch returns a memoryWatch that asks the kernel where o has no function for
// that.
func newMemoryWatch(o AutoSleep, log zerolog.Logger) *memoryWatch {
	if o.Available == nil {
		o.Available = memory.AvailableBytes
	}
	if o.Watch == nil {
		o.Watch = memory.WatchPressure
	}
	return &memoryWatch{AutoSleep: o, log: log}
}

// watchPressure records the time and calls report whenever the kernel reports memory
// pressure, until ctx ends. If the kernel can't report pressure, watchPressure logs that,
// keeps the error for whyPressureUnwatched, and returns.
func (w *memoryWatch) watchPressure(ctx context.Context, report func()) {
	err := w.Watch(ctx, time.Duration(w.Rules.PressureSome), time.Duration(w.Rules.PressureWindow), func() {
		w.mu.Lock()
		w.pressedAt = time.Now()
		w.mu.Unlock()
		report()
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

// whyPressureUnwatched returns why the kernel can't report memory pressure, nil if it
// can.
func (w *memoryWatch) whyPressureUnwatched() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unwatchedErr
}

// memoryShortageText returns why memory is short now, "" if it is not or if the rules
// ignore shortages. Memory pressure counts for twice the key pressure-window, and not if
// the kernel reported it before the moment ignoreBefore.
func (w *memoryWatch) memoryShortageText(now, ignoreBefore time.Time) string {
	if w.Rules.Pressure == configs.PressureOff {
		return ""
	}
	if text := w.tooLittleAvailableText(); text != "" {
		return text
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	recent := now.Add(-2 * time.Duration(w.Rules.PressureWindow))
	if w.pressedAt.After(recent) && !w.pressedAt.Before(ignoreBefore) {
		return fmt.Sprintf("processes waited for memory for %s within %s", w.Rules.PressureSome, w.Rules.PressureWindow)
	}
	return ""
}

// tooLittleAvailableText returns a text that says that less memory is available than the
// key memory-available asks for; "" if there is enough, the key is not set, or the
// available memory can't be measured, which is logged.
func (w *memoryWatch) tooLittleAvailableText() string {
	if w.Rules.MemoryAvailable == 0 {
		return ""
	}
	available, err := w.Available()
	switch {
	case err != nil:
		w.log.Warn().Err(err).Msg("cannot tell how much memory is available")
	case available < int64(w.Rules.MemoryAvailable):
		return fmt.Sprintf("%s of memory are available, the floor is %s", bytesize.Format(available), w.Rules.MemoryAvailable)
	}
	return ""
}
