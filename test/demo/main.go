// Demo is a guided tour: it starts a host of its own and shows, as a user would
// see it, how a plugin with 200 MiB in memory is put to sleep on disk and comes
// back as it was. Everything that it says it has measured.
//
//	make build && go run ./test/demo
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	runtime.LockOSThread()                                  // the host is bound to the life of the thread that starts it
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a reader that has seen enough must not end the clearing away
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// demo leaves nothing behind, however it ends.
func demo(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "dormouse-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h, err := startHost(ctx, dir)
	if err != nil {
		return interrupted(ctx, err)
	}
	t := &tour{host: h}
	err = t.run(ctx)
	if herr := h.end(); herr != nil {
		err = errors.Join(err, fmt.Errorf("the host did not end in order: %w", herr))
	}
	if err != nil {
		if ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "\nThe host's log:\n%s", h.log())
		}
		return interrupted(ctx, err)
	}
	t.check(h.gone(), "the host has ended and left no process behind")
	t.print()
	if t.failures > 0 {
		return fmt.Errorf("%d things were not as they should be", t.failures)
	}
	return nil
}

// interrupted puts Ctrl-C before whatever it brought about.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
