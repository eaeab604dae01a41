package faults

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dormouse/internal/procfs"
)

var stormSeed = flag.Uint64("storm-seed", 0, "the seed of the storm, 0 for a random one")

const (
	stormLedgers = 3
	stormCallers = 30
	stormRound   = 5 * time.Second
)

// TestStorm lets callers of all kinds call plugins that sleep and wake all the time, while
// plugins, CRIU and hosts are killed at random. After each round the accounts must agree, and
// the audit must find everything in order.
func TestStorm(t *testing.T) {
	t.Parallel() // it lasts the longest, and waits for no place
	needCRIU(t)
	seed := *stormSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	lasts := time.Minute
	if thorough {
		lasts = 10 * time.Minute
	}
	t.Logf("the storm lasts %s, with the seed %d (-storm-seed)", lasts, seed)
	st := newStorm(t, rand.New(rand.NewPCG(seed, 0))) //nolint:gosec // repeatable on purpose
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v; the log of the last host ends with:\n%s", st.done, tail(st.host.Load().log.String()))
		}
	})
	for ends := time.Now().Add(lasts); time.Now().Before(ends) && !t.Failed(); {
		st.round()
	}
	t.Logf("%d answered, %d refused, %d without an answer; %v", st.answered.Load(), st.refused.Load(), st.unanswered.Load(), st.done)
	if st.answered.Load() == 0 {
		t.Error("nothing was ever answered")
	}
	st.host.Load().end()
	st.site.inspect()
}

// storm is a site with ledgers, and those that call them.
type storm struct {
	t       *testing.T
	random  *rand.Rand // used by one goroutine
	site    *site
	host    atomic.Pointer[host]
	ledgers []*stormLedger
	callers []*stormCaller
	done    map[string]int // how often each thing was done

	answered, refused, unanswered atomic.Int64
}

// stormLedger is what is known from outside of one ledger.
type stormLedger struct {
	callsign string
	life     string          // at the last check
	mayDie   bool            // something was done since that may have ended the life
	ended    map[string]bool // lives that must not come back
}

// newStorm starts the host of a site with ledgers that the next host adopts.
func newStorm(t *testing.T, random *rand.Rand) *storm {
	t.Helper()
	st := &storm{t: t, random: random, done: make(map[string]int)}
	var tables []string
	for i := range stormLedgers {
		l := &stormLedger{callsign: fmt.Sprintf("Ledger%d", i), ended: make(map[string]bool)}
		st.ledgers = append(st.ledgers, l)
		tables = append(tables, plugin(l.callsign, programs+"/ledger", `on-call = "wake"`, `restart = { policy = "on-failure", limit = 1000, window = "1m", backoff = "50ms" }`))
	}
	st.site = newSite(t, policy("adopt"), tables...)
	st.startHost()
	for i := range stormCallers {
		st.callers = append(st.callers, newStormCaller(st, i))
	}
	return st
}

// startHost starts a host and returns when it serves.
func (st *storm) startHost() {
	h := st.site.start("")
	st.host.Store(h)
	until(st.t, "the host to serve", func() bool {
		if h.dead() {
			st.t.Fatalf("the host ended; its log is:\n%s", h.log.String())
		}
		return h.ask("Controller.version", nil, nil) == nil
	})
}

// round lets everybody call for a while, and then checks the accounts and looks from outside.
func (st *storm) round() {
	st.t.Helper()
	ctx, cancel := context.WithTimeout(st.t.Context(), stormRound)
	defer cancel()
	var all sync.WaitGroup
	for _, c := range st.callers {
		all.Go(func() { c.run(ctx) })
	}
	for ctx.Err() == nil {
		select {
		case <-time.After(time.Duration(st.random.IntN(60)) * time.Millisecond):
		case <-ctx.Done():
		}
		st.doSomething()
	}
	all.Wait()
	for _, l := range st.ledgers {
		st.checkAccount(l)
	}
	st.site.inspect()
}

// deeds are what may happen in a storm, each as often as its weight says. Those that kill may
// end the life of a ledger.
var deeds = []struct {
	name   string
	weight int
	kills  bool
	do     func(st *storm, l *stormLedger)
}{
	{"hibernate", 12, false, func(st *storm, l *stormLedger) { st.try("Controller.hibernate", l) }},
	{"activate", 4, false, func(st *storm, l *stormLedger) { st.try("Controller.activate", l) }},
	{"status", 2, false, func(st *storm, l *stormLedger) { st.try("Controller.status@"+l.callsign, l) }},
	{"reload", 1, false, func(st *storm, _ *stormLedger) { _ = st.host.Load().cmd.Process.Signal(syscall.SIGHUP) }},
	{"deactivate", 1, true, func(st *storm, l *stormLedger) { st.try("Controller.deactivate", l); st.try("Controller.activate", l) }},
	{"kill the plugin", 1, true, (*storm).killPlugin},
	{"kill CRIU", 2, true, func(st *storm, _ *stormLedger) { st.killCRIU() }},
	{"kill the host", 1, false, func(st *storm, _ *stormLedger) { st.killHost() }},
}

// doSomething does one thing, chosen at random, to a ledger chosen at random.
func (st *storm) doSomething() {
	total := 0
	for _, d := range deeds {
		total += d.weight
	}
	n := st.random.IntN(total)
	for _, d := range deeds {
		if n -= d.weight; n >= 0 {
			continue
		}
		l := st.ledgers[st.random.IntN(len(st.ledgers))]
		if d.kills {
			for _, other := range st.ledgers { // a killed CRIU may have worked in any of them
				other.mayDie = other.mayDie || other == l || d.name == "kill CRIU"
			}
		}
		st.done[d.name]++
		d.do(st, l)
		return
	}
}

// try calls a method of the Controller for a ledger, whatever comes of it.
func (st *storm) try(method string, l *stormLedger) {
	_ = st.host.Load().ask(method, map[string]string{"callsign": l.callsign}, nil)
}

// killPlugin kills a process of the ledger, if it has one.
func (st *storm) killPlugin(l *stormLedger) {
	for _, child := range procfs.Children(st.host.Load().cmd.Process.Pid) {
		for _, pid := range procfs.Tree(child) {
			socket, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err == nil && strings.Contains(string(socket), "/"+l.callsign+"/") {
				_ = syscall.Kill(pid, syscall.SIGKILL)
				return
			}
		}
	}
}

// killCRIU kills a CRIU of the host, if there is one now.
func (st *storm) killCRIU() {
	for _, child := range procfs.Children(st.host.Load().cmd.Process.Pid) {
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", child)); err == nil && strings.Contains(string(line), "swrk") {
			_ = syscall.Kill(child, syscall.SIGKILL)
			return
		}
	}
}

// killHost kills the host and starts the next one.
func (st *storm) killHost() {
	h := st.host.Load()
	_ = h.cmd.Process.Kill()
	<-h.ended
	st.startHost()
}

// account is what a ledger has kept.
type account struct {
	Life string
	Runs map[string][]notes
}

// checkAccount compares the ledger with what the callers know: its life ended only if
// something may have ended it, nothing that was answered in this life is missing, nothing is
// there twice, and nothing that was refused.
func (st *storm) checkAccount(l *stormLedger) {
	st.t.Helper()
	var a account
	until(st.t, l.callsign+" to show its account", func() bool {
		if st.host.Load().ask(l.callsign+".account", nil, &a) == nil {
			return true
		}
		st.try("Controller.activate", l)
		return false
	})
	if a.Life != l.life && l.life != "" {
		if !l.mayDie {
			st.t.Errorf("%s has lost its memory and nothing had ended it; the log ends with:\n%s", l.callsign, tail(st.host.Load().log.String()))
		}
		l.ended[l.life] = true
	}
	if l.ended[a.Life] {
		st.t.Errorf("%s is back in a life that had ended", l.callsign)
	}
	l.life, l.mayDie = a.Life, false
	for _, c := range st.callers {
		for _, problem := range c.compare(l.callsign, a) {
			st.t.Errorf("%s, %s: %s", l.callsign, c.name, problem)
		}
	}
}
