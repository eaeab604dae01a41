package main

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/hibernate/criu/pager"
	"dormouse/internal/procfs"
)

// errSecondSignal is the error of a host whose plugins were killed after a second signal.
var errSecondSignal = errors.New("ended by force: a second signal came before every plugin had ended")

// forcedEndTimeout is how long the host may take to end once its processes are killed.
const forcedEndTimeout = 10 * time.Second

// killOnSecondSignal waits for one more SIGINT or SIGTERM, and then kills every process
// that the host has started or adopted, repeatedly, since cleaning up may start further
// ones. If the host has not ended after forcedEndTimeout, it exits the process. PluginRoots
// returns the roots of plugins, which need not be children of the host. The returned
// function ends the wait and reports whether processes were killed.
func killOnSecondSignal(log zerolog.Logger, pluginRoots func() []int) (stopWaiting func() (killed bool)) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	forced := false
	var all sync.WaitGroup
	all.Go(func() {
		select {
		case <-done:
			return
		case s := <-signals:
			log.Warn().Stringer("signal", s).Msg("killing what still runs")
			forced = true
		}
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range int(forcedEndTimeout / (100 * time.Millisecond)) {
			killDescendantsExceptLoaders()
			for _, root := range pluginRoots() {
				_ = syscall.Kill(root, syscall.SIGKILL) // it may be gone already
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
		log.Error().Msg("the host itself does not end in order, leaving it")
		os.Exit(1)
	})
	return func() (killed bool) {
		signal.Stop(signals)
		close(done)
		all.Wait()
		return forced
	}
}

// killDescendantsExceptLoaders kills all descendants of the host except loaders, which
// end by themselves after the trees whose memory they load.
func killDescendantsExceptLoaders() {
	for _, pid := range procfs.Tree(os.Getpid())[1:] {
		if pager.IsLoader(pid) {
			continue
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone already
	}
}
