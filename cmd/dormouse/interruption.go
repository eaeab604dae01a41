package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// errInterrupted is the error of a verb that ended before its work was done, because of a
// signal.
var errInterrupted = errors.New("interrupted")

// runAndClearAway runs work that starts processes and makes files of its own. The context of
// work ends on SIGHUP too, as when a terminal is closed, and when a result can't be written,
// as when the reader of a pipe has ended; work must then clear all away and return. A
// further SIGINT or SIGTERM kills the processes that are left. The error is errInterrupted if
// a signal came, or that of the write.
func runAndClearAway(ctx context.Context, t *terminal, work func(context.Context) error) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a write that fails must not end this process
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.onWriteErr = cancel
	finish := endWatch{
		forcedLimit: 10 * time.Second, begun: func(os.Signal) {}, kill: killDescendantsExceptLoaders, giveUp: func() {},
	}.start(ctx)
	err := work(ctx)
	finish()
	switch {
	case ctx.Err() == nil:
		return err
	case t.writeErr != nil:
		return t.writeErr
	case err == nil || errors.Is(err, context.Canceled):
		return errInterrupted
	}
	return err
}
