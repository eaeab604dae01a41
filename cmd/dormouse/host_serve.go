package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/communicator"
	"dormouse/plugins/host"
)

// serveVerb returns the action that runs the host.
func serveVerb(flags *flag.FlagSet) action {
	var path string
	var o configs.Overrides
	flags.StringVar(&path, "config", "", "the configuration `FILE`, "+configs.DefaultPath+" if not given")
	flags.StringVar(&o.Root, "root", "", "keep everything below `DIR`, sockets and images too")
	flags.StringVar(&o.Listen, "listen", "", "the `ADDRESS` for clients; port 0 takes any, see the file address in the root")
	flags.StringVar(&o.Communicator, "communicator", "", "the `PATH` of the native clients' socket; what runs has its sockets in dormouse-run beside it")
	flags.StringVar(&o.Criu, "criu", "", "the `PATH` of CRIU's executable")
	flags.StringVar(&o.LogLevel, "log-level", "", "the least `LEVEL` that is logged: trace, debug, info, warn or error")
	flags.StringVar(&o.LogFormat, "log-format", "", "the `FORMAT` of the log: console or json on standard error, journal, or auto")
	flags.StringVar(&o.PluginSource, "plugin-source", "", "which side of the packages wins at the start, `SIDE`: database or filesystem")
	onlyCheck := flags.Bool("check", false, "start nothing: fail if a host could not start with this, or would leave a drop-in out")
	return func(ctx context.Context, t *terminal, _ []string) error {
		load := func() (configs.Config, error) { return configs.Load(path, os.Getenv, o) }
		if *onlyCheck {
			return checkStart(load)
		}
		config, err := configs.LoadWithoutBadDropIns(path, os.Getenv, o)
		if err != nil {
			return fmt.Errorf("cannot start with this configuration:\n%w", err)
		}
		log, err := newQueuedLog(t, config.Host)
		if err != nil {
			return err
		}
		for _, file := range config.LeftOut {
			log.Error().Str("file", file.Path).Strs("missing", file.Callsigns).Bool("complete", file.IsComplete).
				Msgf("left out a file of the configuration, and keep all that belongs to its plugins: %s", file)
		}
		logAwaited(log, config)
		program, err := os.Executable() // before it is replaced
		if err != nil {
			return fmt.Errorf("cannot tell where this program is: %w", err)
		}
		err = serve(ctx, t, program, load, config, log)
		if next, anew := errors.AsType[*reexecError](err); anew {
			t.flush()
			return reexec(program, next.sockets)
		}
		return err
	}
}

// newQueuedLog is newLog with a queue before the output of the terminal and before systemd's
// journal, so that the host never waits for what reads them. The log says how many of its
// lines were dropped once it is read again.
func newQueuedLog(t *terminal, h configs.Host) (zerolog.Logger, error) {
	var made atomic.Pointer[zerolog.Logger]
	tell := func(dropped int64) {
		if log := made.Load(); log != nil {
			log.Warn().Int64("lines", dropped).Msg("dropped lines of the log, which was not read for a while")
		}
	}
	t.queueOutput(tell)
	log, err := newLog(t, h, tell)
	made.Store(&log)
	return log, err
}

// newLog returns the host's log in the configured format. With auto it goes to systemd's
// journal if that gets the standard error, is text on a terminal, and JSON otherwise. An
// unknown level is an error.
func newLog(t *terminal, h configs.Host, tell func(dropped int64)) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(h.LogLevel)
	if err != nil {
		return zerolog.Nop(), err
	}
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	w := t.err
	auto := h.LogFormat == "auto"
	switch {
	case h.LogFormat == "journal", auto && t.errIsJournal:
		w = t.newQueue(newJournaldWriter(t.err), tell)
	case h.LogFormat == "console", auto && t.errIsTerminal:
		w = newConsoleWriter(t, "15:04:05.000", os.Getenv("NO_COLOR") != "")
	case t.errIsTerminal:
		w = harmlessWriter{t.err}
	}
	return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
}

// serve runs a host until ctx ends or a successor is to follow. It closes the parts of the
// host in the reverse order, so that no part loses another that it needs. The function load
// reads the configuration anew at each reload, and accepts only a whole one. program is the
// path of this program, where an operator may put the successor's. The error is a
// *reexecError if this process is to execute the successor.
func serve(ctx context.Context, t *terminal, program string, load func() (configs.Config, error), config configs.Config, log zerolog.Logger) (err error) {
	syscall.Umask(0o077)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a log that is no longer read must not end the host
	hangups, successors := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	signal.Notify(successors, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(successors)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := &hostServer{log: log, program: program, load: load, config: config, successorSignals: successors}
	finish := h.watchEnd(ctx, t.flush)
	defer func() {
		if finish() && err == nil {
			err = errForcedEnd
		}
	}()
	dirs, err := makeAndLockDirs(config)
	if err != nil {
		return err
	}
	defer dirs.cleanUpAndUnlock()
	group, err := communicator.LookupGroup(config.Host.CommunicatorGroup)
	if err != nil {
		return err
	}
	config.Hibernate.KeyFile = imageKeyFileOrCredential(config.Hibernate)
	if err := checkOwnFiles(config); err != nil {
		return err
	}
	paths, err := dirs.makeUnixSocketDirs(config.Host)
	if err != nil {
		return err
	}
	sockets, err := inheritOrOpenSockets(config, paths, group, log)
	if err != nil {
		return err
	}
	defer func() { sockets.close(h.hasSuccessor.Load()) }()
	h.host, err = host.Open(host.Options{
		Config: config, RunDir: dirs.run, Version: version, Log: log, Group: group, DroppedLogLines: t.droppedLines,
		CheckCallsign: dirs.checkSocketPathLength, Hibernates: h.hibernates.Load, Reload: h.reloadConfigAndLog, Listening: sockets.addressPorts(),
	})
	if err != nil {
		return err
	}
	h.opened.Store(h.host)
	defer func() {
		if err := h.host.CleanUpAndClose(h.hasSuccessor.Load()); err != nil {
			log.Warn().Err(err).Msg("could not clean up")
		}
	}()
	if foreign := dirs.foreignInRunDir(); len(foreign) > 0 {
		log.Warn().Str("directory", dirs.run).Msg("the run directory is not the host's alone, and the host leaves the rest alone: " + strings.Join(foreign, ", "))
	}
	writeAddress := func() error { return dirs.writeAddressFile(config.Host.Root, sockets.front[0].Addr().String()) }
	switch err := writeAddress(); {
	case errors.Is(err, errNoAddressFile):
		log.Warn().Err(err).Send()
		retrying, stop := context.WithCancel(ctx)
		var retry sync.WaitGroup
		retry.Go(func() { retryUntilDone(retrying, writeAddress) })
		defer retry.Wait()
		defer stop()
	case err != nil:
		return err
	}
	if err = h.run(ctx, cancel, t, sockets, hangups); err == nil && h.reexecs.Load() {
		err = &reexecError{sockets.takeKeptSockets()}
	}
	return err
}

// retryPause is how long the host waits before it tries again what a full disk has prevented.
const retryPause = 2 * time.Second

// retryUntilDone calls work again and again, until it returns nil or ctx ends.
func retryUntilDone(ctx context.Context, work func() error) {
	tick := time.NewTicker(retryPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if work() == nil {
				return
			}
		}
	}
}
