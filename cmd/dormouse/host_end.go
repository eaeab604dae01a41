package main

import (
	"context"
	"errors"
	"os"
	"time"

	"dormouse/shell"
)

// errForcedEnd is the error of a host that has ended in order, but not before its plugins
// were killed.
var errForcedEnd = errors.New("ended by force: plugins were killed, after a second signal or since they did not end in time")

const (
	// endReserve is how long the end of the host may take beyond the limits of its plugins.
	endReserve = 10 * time.Second
	// forcedEndLimit is how long the host may take to end once its processes are killed.
	// With outputLimit and reportLimit it makes up the three seconds within which a second
	// signal ends the host.
	forcedEndLimit = 1500 * time.Millisecond
	// reportLimit is how long the host may take to say what it leaves undone.
	reportLimit = 300 * time.Millisecond
)

// watchEnd sees to it that the host ends soon after ctx has ended, see endWatch. flush writes
// what is left of the log.
func (h *hostServer) watchEnd(ctx context.Context, flush func()) (finish func() (killed bool)) {
	return endWatch{
		limit:       func() time.Duration { return h.endLimit() - forcedEndLimit - reportLimit - outputLimit },
		forcedLimit: forcedEndLimit,
		begun: func(signal os.Signal) {
			if signal == nil {
				h.log.Error().Msg("the host does not end in time, killing what still runs")
			} else {
				h.log.Warn().Stringer("signal", signal).Msg("killing what still runs")
			}
		},
		kill: h.killPlugins,
		giveUp: func() {
			h.reportUndone()
			flush()
		},
	}.start(ctx)
}

// endLimit returns how long the host may take to end: the largest start-timeout, within
// which an operation under way is given up, twice the largest stop-timeout, and endReserve.
func (h *hostServer) endLimit() time.Duration {
	var start, stop time.Duration
	for _, p := range h.config.Plugins {
		start, stop = max(start, time.Duration(p.StartTimeout)), max(stop, time.Duration(p.StopTimeout))
	}
	for _, s := range h.openedShells() { // clones, and what a reload has changed
		c := s.Config()
		start, stop = max(start, time.Duration(c.StartTimeout)), max(stop, time.Duration(c.StopTimeout))
	}
	return start + 2*stop + endReserve
}

// openedShells returns the shells of the plugins, none while the host is not open yet.
func (h *hostServer) openedShells() []*shell.Shell {
	if opened := h.opened.Load(); opened != nil {
		return opened.PluginShells()
	}
	return nil
}

// killPlugins kills all that the host has started, and the plugins that it has adopted. With
// a successor, which adopts them, it leaves the plugins that the host lets run on.
func (h *hostServer) killPlugins() {
	if h.hasSuccessor.Load() {
		return
	}
	if opened := h.opened.Load(); opened != nil {
		opened.Processes.Cgroups.KillAll()
	}
	killDescendantsExceptLoaders()
}

// reportUndone logs what the host leaves undone: each instance that has not ended, with the
// operation under way. It takes no longer than reportLimit.
func (h *hostServer) reportUndone() {
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		for _, s := range h.openedShells() {
			state, running := s.State(), s.LaneStatus().Running
			if running == "" && (state.IsDown() || state == shell.Hibernated) {
				continue
			}
			h.log.Error().Str("callsign", s.Callsign()).Str("state", string(state)).Str("operation", string(running)).
				Msg("left this instance as it is; the next host ends what is left of it")
		}
	}()
	select {
	case <-reported:
	case <-time.After(reportLimit):
	}
	h.log.Error().Msg("the host itself does not end in order, leaving it")
}
