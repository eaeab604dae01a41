package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// reexecError is returned by a host whose successor is executed in the same process. It
// holds the sockets that the successor inherits.
type reexecError struct{ sockets []keptSocket }

func (*reexecError) Error() string { return "the program is to be executed anew" }

// noteSuccessorAndEndOnSignal calls end when a signal asks the host to make room for a
// successor, and returns when ctx ends. With on-host-exit = "adopt" the plugins run on
// meanwhile. After SIGUSR1 the operator starts the successor, after SIGUSR2 this process
// executes it.
func (h *hostServer) noteSuccessorAndEndOnSignal(ctx context.Context, end context.CancelFunc) {
	select {
	case s := <-h.successorSignals:
		h.log.Info().Stringer("signal", s).Msg("making room for the next host")
		h.hasSuccessor.Store(true)
		h.reexecs.Store(s == syscall.SIGUSR2)
		end()
	case <-ctx.Done():
	}
}

// reexec executes the program that is at path now in this process, so that a service
// manager does not see the service end. It returns only if that fails.
func reexec(path string, sockets []keptSocket) (failure error) {
	err := prepareSocketsForExec(sockets)
	signal.Ignore(syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2) // until the next program listens to them
	if err == nil {
		err = syscall.Exec(path, os.Args, os.Environ())
	}
	return fmt.Errorf("cannot start %s anew: %w; plugins may still run, the next host adopts them", path, err)
}
