package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// anewError is why a host ended that is to be followed by one in the same process,
// which inherits the sockets.
type reexecError struct{ sockets []keptSocket }

func (*reexecError) Error() string { return "the program is to be executed anew" }

// awaitRelief ends the host when it is told to make room for a successor: with
// on-host-exit = "adopt" the plugins run on meanwhile. SIGUSR1 leaves it to others to
// start that one, SIGUSR2 has this process execute it.
func (h *hostServer) awaitSuccessor(ctx context.Context, end context.CancelFunc) {
	select {
	case s := <-h.successorSignals:
		h.log.Info().Stringer("signal", s).Msg("making room for the next host")
		h.hasSuccessor.Store(true)
		h.reexecs.Store(s == syscall.SIGUSR2)
		end()
	case <-ctx.Done():
	}
}

// executeAnew replaces this program by what lies at its path now, in the same
// process, so that a service manager sees no end of the service.
func reexec(path string, sockets []keptSocket) error {
	err := passToNextProgram(sockets)
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2) // until the next program listens to them
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ())
	}
	return fmt.Errorf("cannot start %s anew: %w; plugins may still run, the next host adopts them", path, err)
}
