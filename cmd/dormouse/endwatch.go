package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"dormouse/hibernate/criu/pager"
	"dormouse/internal/procfs"
)

// endWatch sees to it that this process ends soon once it has begun to end, whatever it waits
// for.
type endWatch struct {
	// limit returns how long the end may take without a further signal; nil means for ever.
	limit func() time.Duration
	// forcedLimit is how long the end may take once processes are killed.
	forcedLimit time.Duration
	// begun is called before processes are killed, with the signal that is the cause, nil
	// when the limit is.
	begun func(signal os.Signal)
	// kill kills processes. It is called repeatedly, since cleaning up may start further
	// ones, and need not return.
	kill func()
	// giveUp is called before the process exits without having ended.
	giveUp func()
}

// start watches from the end of ctx on. After one more SIGINT or SIGTERM, or after the limit,
// processes are killed, and the process exits if it has not ended after forcedLimit. finish
// ends the watch, and reports whether processes were killed.
func (w endWatch) start(ctx context.Context) (finish func() (killed bool)) {
	done := make(chan struct{})
	killed := false
	signals := make(chan os.Signal, 2) // registered now, so that no signal is lost
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	var watching sync.WaitGroup
	watching.Go(func() {
		defer signal.Stop(signals)
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		if wasEndedBySignal(ctx) { // the first comes here, too, unless it came before start
			select {
			case <-signals:
			case <-time.After(50 * time.Millisecond):
			}
		}
		cause, ended := w.awaitSignalOrLimit(signals, done)
		if ended {
			return
		}
		killed = true
		w.begun(cause)
		if !w.killUntil(done) {
			w.giveUp()
			os.Exit(exitFailed)
		}
	})
	return func() bool {
		close(done)
		watching.Wait()
		return killed
	}
}

// awaitSignalOrLimit returns when a signal comes, or with a nil signal after the limit. ended
// reports whether done was closed before.
func (w endWatch) awaitSignalOrLimit(signals <-chan os.Signal, done <-chan struct{}) (cause os.Signal, ended bool) {
	var late <-chan time.Time
	if w.limit != nil {
		timer := time.NewTimer(w.limit())
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-done:
		return nil, true
	case cause = <-signals:
		return cause, false
	case <-late:
		return nil, false
	}
}

// wasEndedBySignal reports whether a SIGINT or SIGTERM has ended ctx, which is of
// signal.NotifyContext: that names the signal as the cause.
func wasEndedBySignal(ctx context.Context) bool {
	text := fmt.Sprint(context.Cause(ctx))
	return strings.Contains(text, syscall.SIGINT.String()) || strings.Contains(text, syscall.SIGTERM.String())
}

// killUntil calls kill again and again, until done is closed or the forced limit has passed.
// It reports whether done was closed.
func (w endWatch) killUntil(done <-chan struct{}) (isDone bool) {
	late := time.NewTimer(w.forcedLimit)
	defer late.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		go w.kill() // it reads /proc, which can make it wait
		select {
		case <-done:
			return true
		case <-late.C:
			return false
		case <-tick.C:
		}
	}
}

// killDescendantsExceptLoaders kills all descendants of this process except loaders, which
// end by themselves after the trees whose memory they load.
func killDescendantsExceptLoaders() {
	for _, pid := range procfs.Tree(os.Getpid())[1:] {
		if !pager.IsLoader(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
		}
	}
}
