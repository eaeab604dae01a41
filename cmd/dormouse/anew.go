package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// errAnew is why a host ended that is to be followed by one in the same process.
var errAnew = errors.New("the program is to be executed anew")

// awaitRelief ends the host when it is told to make room for its successor: with
// on-host-exit = "adopt" the plugins run on meanwhile.
func (h *host) awaitRelief(ctx context.Context, end context.CancelFunc) {
	relief := make(chan os.Signal, 1)
	signal.Notify(relief, syscall.SIGUSR2)
	defer signal.Stop(relief)
	select {
	case <-relief:
		h.log.Info().Msg("making room for what is installed now")
		h.anew.Store(true)
		end()
	case <-ctx.Done():
	}
}

// executeAnew replaces this program by what lies at its path now, in the same
// process, so that a service manager sees no end of the service.
func executeAnew(path string) error {
	if err := syscall.Exec(path, os.Args, os.Environ()); err != nil {
		return fmt.Errorf("cannot start %s anew: %w; plugins may still run, the next host adopts them", path, err)
	}
	return nil
}
