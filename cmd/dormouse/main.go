// Dormouse supervises plugins that run as processes of their own, and puts idle ones to
// sleep on disk. `dormouse serve` is the host, most other verbs are its clients.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/pager"
)

// version is set by the linker.
var version = "dev"

// Exit codes, which scripts may rely on.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
)

func main() {
	// Descriptors that the parent process left open would leak into the plugins, and one
	// that CRIU does not know makes a dump fail.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if len(os.Args) > 1 && os.Args[1] == pager.LoaderVerb { // a host has started it
		if err := pager.RunLoader(hibernate.ReceiveMemory); err != nil {
			standardTerminal().printErrf("dormouse: cannot load the memory of a plugin: %v\n", err)
			os.Exit(exitFailed)
		}
		os.Exit(exitDone)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := runCommandLine(ctx, standardTerminal(), os.Args[1:])
	stop()
	os.Exit(code)
}

// runCommandLine carries out one command line, prints its error, and returns the exit code.
func runCommandLine(ctx context.Context, t *terminal, args []string) (exitCode int) {
	defer t.closeQueues()
	err := runVerb(ctx, t, args)
	if err == nil {
		err = t.writeErr
	}
	usage, isUsage := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return exitDone
	case isUsage && usage.err == nil: // the overview has been shown
		return exitUsage
	case isUsage:
		t.printErrf("dormouse: %v\nRun `%s --help` to see how it is used.\n", err, usage.command)
		return exitUsage
	}
	if !errors.Is(err, errReported) && !errors.Is(err, syscall.EPIPE) { // the reader of a pipe has seen enough
		t.printError(err)
	}
	if errors.Is(err, errUnreachable) {
		return exitUnreachable
	}
	return exitFailed
}

// errReported ends a verb that has already printed its failure.
var errReported = errors.New("failed")

// errReportedUnless returns errReported unless the verb has found everything ok.
func errReportedUnless(ok bool) error {
	if ok {
		return nil
	}
	return errReported
}

// usageError is the error of a command line that can't be carried out as it is written.
type usageError struct {
	command string // the one whose help explains the usage
	err     error  // nil if the help has been shown
}

// Error returns the text of the cause. Without one nothing is left to print.
func (e *usageError) Error() string {
	if e.err == nil {
		return "usage"
	}
	return e.err.Error()
}

func (e *usageError) Unwrap() error { return e.err }
