package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"dormouse/configs"
	"dormouse/hibernate/pack"
	"dormouse/internal/tamper"
	"dormouse/internal/timelimit"
	"dormouse/plugins/communicator"
	"dormouse/plugins/host"
)

// reexecError is returned by a host whose successor is executed in the same process. It
// holds the sockets that the successor inherits.
type reexecError struct{ sockets []keptSocket }

func (*reexecError) Error() string { return "the program is to be executed anew" }

// noteSuccessorAndEndOnSignal calls end when a signal asks the host to make room for a
// successor, and returns then or when ctx ends. With on-host-exit = "adopt" the plugins run on
// meanwhile. After SIGUSR1 the operator starts the successor, after SIGUSR2 this process
// executes it. If that one could not start, the host goes on and logs why.
func (h *hostServer) noteSuccessorAndEndOnSignal(ctx context.Context, end context.CancelFunc) {
	for {
		select {
		case s := <-h.successorSignals:
			if s == syscall.SIGUSR2 {
				if err := h.checkSuccessor(ctx); err != nil {
					h.log.Error().Err(err).Msg("the next host could not start, so this one goes on")
					continue
				}
			}
			h.log.Info().Stringer("signal", s).Msg("making room for the next host")
			h.hasSuccessor.Store(true)
			h.reexecs.Store(s == syscall.SIGUSR2)
			end()
			return
		case <-ctx.Done():
			return
		}
	}
}

// successorCheckLimit is how long a successor may take to check whether it could start.
const successorCheckLimit = 10 * time.Second

// checkSuccessor has the program that is at the host's path now check whether it could start
// as this host was started, and returns why not.
func (h *hostServer) checkSuccessor(ctx context.Context) error {
	if err := tamper.GuardFor(h.config.Host.Root).Check(h.program); err != nil && os.Geteuid() == 0 {
		return fmt.Errorf("cannot run %s as root: %w", h.program, err)
	}
	ctx, cancel := context.WithTimeout(ctx, successorCheckLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.program, append(slices.Clone(os.Args[1:]), "--check")...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "NOTIFY_SOCKET=") })
	cmd.WaitDelay = time.Second // in case a child of it holds the output
	said, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s does not say within %s whether it could start: %w", h.program, successorCheckLimit, timelimit.EndError(ctx))
	}
	const mostText = 2000
	return fmt.Errorf("cannot start %s: %w: %.*s", h.program, err, mostText, strings.TrimSpace(string(said)))
}

// checkStart returns why a host could not start with this configuration, nil if it could. It
// changes nothing, and looks neither at the locks nor at the addresses that a running host has.
func checkStart(load func() (configs.Config, error)) error {
	config, err := load()
	if err != nil {
		return fmt.Errorf("cannot start with this configuration:\n%w", err)
	}
	if _, err := communicator.LookupGroup(config.Host.CommunicatorGroup); err != nil {
		return err
	}
	config.Hibernate.KeyFile = imageKeyFileOrCredential(config.Hibernate)
	if err := errors.Join(tamper.GuardFor(config.Host.Root).Check(config.Host.Root), checkOwnFiles(config)); err != nil {
		return err
	}
	for _, files := range allTLS(config) {
		if files.IsOn() {
			if _, err := readTLSFiles(files, alpnHTTP1); err != nil {
				return err
			}
		}
	}
	if config.Hibernate.KeyFile != "" {
		_, err = pack.ReadKey(config.Hibernate.KeyFile)
	} else if config.Hibernate.Encrypt {
		err = host.ErrNoImageKey
	}
	return err
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
