package sdktest

import (
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"testing"
)

// pendingClearings are what the running tests must still clear away.
var pendingClearings clearings

// clearings are functions that clear something away, in the order in which they were added.
type clearings struct {
	mu   sync.Mutex
	all  map[int]func() error
	last int // key of the last one
}

// add adds a function and returns it so that it runs only once, and a function that removes
// it.
func (c *clearings) add(clearUp func() error) (clearOnce func() error, remove func()) {
	clearOnce = sync.OnceValue(clearUp)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[int]func() error)
	}
	c.last++
	key := c.last
	c.all[key] = clearOnce
	return clearOnce, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.all, key)
	}
}

// runAll runs all functions, the last one first.
func (c *clearings) runAll() {
	c.mu.Lock()
	all := maps.Clone(c.all)
	c.mu.Unlock()
	keys := slices.Sorted(maps.Keys(all))
	slices.Reverse(keys)
	for _, key := range keys {
		_ = all[key]() // the process is about to end
	}
}

// clearAtEnd has clearUp run at the end of the test, or before a signal ends this process. An
// error fails the test.
func clearAtEnd(tb testing.TB, clearUp func() error) {
	tb.Helper()
	clearOnce, remove := pendingClearings.add(clearUp)
	tb.Cleanup(func() {
		if err := clearOnce(); err != nil {
			tb.Error(err)
		}
		remove()
	})
}

// clearOnSignals has SIGINT, SIGTERM and SIGHUP end this process only when all is cleared
// away, so that no directory, cgroup or plugin is left. The returned function ends that; it
// does not return if such a signal has come.
func clearOnSignals() (stop func()) {
	signals, done, ended := make(chan os.Signal, 1), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		defer close(ended)
		select {
		case <-done:
		case s := <-signals:
			pendingClearings.runAll()
			signal.Reset(s)
			_ = syscall.Kill(os.Getpid(), s.(syscall.Signal)) //nolint:errcheck // each is one
			select {}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-ended
	}
}
