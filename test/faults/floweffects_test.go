package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// flowCondition is one in which a package or its instance is while messages come for its flows.
type flowCondition struct {
	// lead starts a host and leads to the condition; mend leads out of it, until the flows can
	// be emptied.
	lead func(*flowSite) *host
	mend func(*flowSite, *host)
	// why is in what the host says of a flow that runs.
	why string
	// effects are those of a flow that is stopped, paused and running.
	effects [3]string
}

var (
	processedNow = [3]string{"rejected", "queued", "processed"}
	queuedNow    = [3]string{"rejected", "queued", "queued"}
	rejectedNow  = [3]string{"rejected", "queued", "rejected"}
)

// gate is the file that lets the package or the archive of a condition go on.
func (s *flowSite) gate() string { return filepath.Join(filepath.Dir(s.root), "gate") }

func (s *flowSite) openGate() { write(s.t, s.gate(), nil) }

// waitAtGate returns once the gate is open, or ctx ends.
func (s *flowSite) waitAtGate(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if _, err := os.Stat(s.gate()); err == nil {
			return
		}
		<-tick.C
	}
}

// openAndSettle lets go on what waits at the gate.
func openAndSettle(s *flowSite, h *host) {
	s.openGate()
	s.settled(h)
}

// inPhase returns when the package "lines" has that status.
func (s *flowSite) inPhase(h *host, status string) {
	h.t.Helper()
	until(h.t, "the status "+status, func() bool {
		var all []shown
		_ = h.ask("Packager.list", nil, &all) // a host that starts does not answer yet
		for _, p := range all {
			if strings.Contains(p.Status, status) {
				return true
			}
		}
		return false
	})
}

// begin begins to install a package on a host, and returns in that phase.
func (s *flowSite) begin(h *host, source, status string) *host {
	h.t.Helper()
	h.must("Packager.install", map[string]any{"package": source}, nil)
	s.inPhase(h, status)
	return h
}

// fresh starts a host without packages.
func (s *flowSite) fresh() *host {
	s.t.Helper()
	h := s.start("")
	h.ready()
	return h
}

// with leads to a condition of the installed package by a call.
func with(method string, params map[string]any) func(*flowSite) *host {
	return func(s *flowSite) *host {
		h := s.startWithLines()
		h.must(method, params, nil)
		s.settled(h)
		return h
	}
}

// call is what mends a condition by a call.
func call(method string, params map[string]any) func(*flowSite, *host) {
	return func(s *flowSite, h *host) {
		h.must(method, params, nil)
		s.settled(h)
	}
}

// tricklingArchive serves the package in two parts, the second once the gate is open, and returns
// its address.
func (s *flowSite) tricklingArchive() string {
	s.t.Helper()
	path := filepath.Join(filepath.Dir(s.root), "lines.tar.zst")
	if out, err := exec.Command(programs+"/dormouse", "package", "build", "-o", path, s.source).CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	archive := read(s.t, path)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(archive)))
		_, _ = w.Write(archive[:len(archive)/2])
		_ = http.NewResponseController(w).Flush()
		s.waitAtGate(r.Context())
		_, _ = w.Write(archive[len(archive)/2:])
	}))
	s.t.Cleanup(server.Close)
	s.configure(packagesConfig + fmt.Sprintf("unsigned = \"always\"\nplain-http = [%q]\n", strings.TrimPrefix(server.URL, "http://")))
	return server.URL + "/lines.tar.zst"
}

func flowConditions() map[string]flowCondition {
	lines, instance := map[string]any{"package": "lines"}, map[string]any{"callsign": "Lines"}
	return map[string]flowCondition{
		"installed": {(*flowSite).startWithLines, func(*flowSite, *host) {}, "", processedNow},
		"disabled":  {with("Packager.disable", lines), call("Packager.enable", lines), "is disabled", rejectedNow},
		"down":      {with("Controller.deactivate", instance), call("Controller.activate", instance), "Lines is deactivated", queuedNow},
		"failed": {func(s *flowSite) *host {
			h := s.startWithLines()
			s.install(h, s.linesPackage("failing", "2.0.0", "versioned"))
			return h
		}, call("Packager.rollback", lines), "FAILED", queuedNow},
		"invalid": {func(s *flowSite) *host {
			h := s.startWithLines()
			s.install(h, s.linesPackage("dumb", "2.0.0", "counter"))
			return h
		}, func(s *flowSite, h *host) { s.install(h, s.linesPackage("mended", "3.0.0", "lines")) }, "does not serve", queuedNow},
		// A host that follows one that was killed is still starting another plugin.
		"pending": {func(s *flowSite) *host {
			h := s.start("package.asked")
			h.ready()
			_ = h.ask("Packager.install", map[string]any{"package": s.source}, nil)
			h.killed()
			s.configure(packagesConfig, plugin("Slow", programs+"/gated", fmt.Sprintf("configuration = { start = %q }", s.gate())))
			h = s.start("")
			s.inPhase(h, "PENDING")
			until(h.t, "the flows to answer", func() bool { return h.ask("Flows.list", nil, nil) == nil })
			return h
		}, func(s *flowSite, h *host) {
			s.openGate()
			s.inPhase(h, "INSTALLED")
		}, "PENDING", queuedNow},
		"fetching": {func(s *flowSite) *host {
			source := s.tricklingArchive()
			h := s.fresh()
			if status, answer, err := post(h, "early", "early"); err != nil || status != http.StatusNotFound {
				h.t.Errorf("before any package is asked for, the answer is %d %s, %v", status, answer, err)
			}
			return s.begin(h, source, "INSTALLING (fetching)")
		}, openAndSettle, "lines are not known before it is fetched", queuedNow},
		"probing": {func(s *flowSite) *host {
			dir := s.linesPackage("gated", "1.0.0", "gated")
			write(s.t, filepath.Join(dir, "bin", "gate"), []byte(s.gate()))
			return s.begin(s.fresh(), dir, "INSTALLING (probing)")
		}, openAndSettle, "INSTALLING (probing)", queuedNow},
		"starting": {func(s *flowSite) *host {
			return s.begin(s.fresh(), s.linesPackage("gated", "1.0.0", "gated", "start"), "INSTALLING (starting)")
		}, openAndSettle, "INSTALLING (starting)", queuedNow},
		"switching": {func(s *flowSite) *host {
			return s.begin(s.startWithLines(), s.linesPackage("gated", "2.0.0", "gated", "start"), "INSTALLING (switching)")
		}, openAndSettle, "INSTALLING (switching)", queuedNow},
		// What waits for a package that has gone waits for the next that declares its flows.
		"removing": {func(s *flowSite) *host {
			h := s.fresh()
			s.install(h, s.linesPackage("gated", "1.0.0", "gated", "end"))
			h.must("Packager.uninstall", lines, nil)
			s.inPhase(h, "REMOVING")
			return h
		}, func(s *flowSite, h *host) {
			openAndSettle(s, h)
			s.install(h, s.source)
		}, "REMOVING", queuedNow},
	}
}

// Each cell of the table of a flow's state and its plugin's, with real processes: a message is
// processed, queued and processed once the cause is gone, or rejected.
func TestEffectsOfFlowAndPluginState(t *testing.T) {
	t.Parallel()
	for name, c := range flowConditions() {
		t.Run(name, func(t *testing.T) {
			runBeside(t)
			s := newFlowSite(t)
			h := c.lead(s)
			want := 0
			for i, verb := range []string{"stop", "pause", "run"} {
				h.must("Flows."+verb, map[string]any{"flow": "texts"}, nil)
				effect, now := c.effects[i], flowsOf(h)["texts"]
				if now.Effect != effect || (now.Why == "") != (effect == "processed") {
					t.Errorf("after %s it is %+v, want %s", verb, now, effect)
				}
				if verb == "run" && !strings.Contains(now.Why, c.why) {
					t.Errorf("it waits since %q, want %q", now.Why, c.why)
				}
				status, answer, err := post(h, verb, verb)
				must(t, err)
				if accepted := effect != "rejected"; accepted != (status == http.StatusAccepted) || !accepted && status != http.StatusConflict {
					t.Errorf("after %s the answer is %d %s", verb, status, answer)
				} else if accepted {
					want++
				}
			}
			c.mend(s, h)
			drained(h)
			text, err := os.ReadFile(s.kept)
			must(t, err)
			if got := strings.Count(string(text), "\n"); got != want {
				t.Errorf("the sink has %q, want %d messages", text, want)
			}
			h.end()
		})
	}
}
