package main

import (
	"context"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// What a service manager is told.
const (
	ready    = daemon.SdNotifyReady
	stopping = daemon.SdNotifyStopping
)

// notify says something to systemd if it is there to hear it.
func notify(state string) {
	_, _ = daemon.SdNotify(false, state)
}

// showsBanner tells whether standard output is for a person: not with a service
// manager, nor where programs read.
func showsBanner(logFormat string) bool {
	return logFormat != "json" && os.Getenv("NOTIFY_SOCKET") == ""
}

// keepWatchdogFed tells systemd in time, until ctx ends, that the host works:
// that the state of every instance can still be asked for.
func keepWatchdogFed(ctx context.Context, h *host) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, s := range h.supervisor.Shells() {
				_ = s.State()
			}
			notify(daemon.SdNotifyWatchdog)
		}
	}
}
