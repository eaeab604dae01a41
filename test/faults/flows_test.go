package faults

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// flowSite is a site with the package "lines", whose sink writes each message to a file.
type flowSite struct {
	*packageSite
	source, kept string
}

func newFlowSite(t *testing.T) *flowSite {
	t.Helper()
	s := &flowSite{packageSite: &packageSite{site: newSite(t, packagesConfig)}}
	dir := filepath.Dir(s.root)
	s.kept = filepath.Join(dir, "kept")
	s.source = s.linesPackage("source", "1.0.0", "lines")
	return s
}

// linesPackage writes a version of the package whose program is that, and returns its directory.
// Its instance waits at the gate where the keys "start" and "end" say so.
func (s *flowSite) linesPackage(name, version, program string, gates ...string) string {
	s.t.Helper()
	dir := filepath.Join(filepath.Dir(s.root), name)
	must(s.t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(s.t, os.Link(programs+"/"+program, filepath.Join(dir, "bin", "program")))
	keys := fmt.Sprintf("file = %q", s.kept)
	for _, key := range gates {
		keys += fmt.Sprintf(", %s = %q", key, s.gate())
	}
	configuration := map[string]string{
		"lines":     "configuration = { " + keys + " }",
		"gated":     "configuration = { " + keys + " }",
		"versioned": `configuration = { version = "2", fails = true }`,
	}[program]
	write(s.t, filepath.Join(dir, "plugin.toml"), fmt.Appendf(nil, `name = "lines"
version = %q
[program]
linux-amd64 = "bin/program"
linux-arm64 = "bin/program"
[[instance]]
callsign = "Lines"
start-mode = "activated"
on-call = "wake"
%s
[[flow]]
name = "texts"
kind = "source"
gives = ["lines"]
state = "running"
[[flow]]
name = "loud"
kind = "transform"
takes = ["lines"]
gives = ["shouts"]
state = "running"
[[flow]]
name = "file"
kind = "sink"
takes = ["shouts"]
state = "running"
`, version, configuration))
	return dir
}

// startWithLines starts a host and installs the package.
func (s *flowSite) startWithLines() *host {
	s.t.Helper()
	h := s.start("")
	h.ready()
	s.install(h, s.source)
	return h
}

// install installs a package and waits for the end of that.
func (s *flowSite) install(h *host, dir string) {
	h.t.Helper()
	h.must("Packager.install", map[string]any{"package": dir}, nil)
	s.settled(h)
}

// flowFigures are what the host says of a flow.
type flowFigures struct {
	Name, State, Effect, Why string
	Messages, Dead           int64
}

func flowsOf(h *host) map[string]flowFigures {
	h.t.Helper()
	var all []flowFigures
	h.must("Flows.list", nil, &all)
	byName := make(map[string]flowFigures)
	for _, f := range all {
		byName[f.Name] = f
	}
	return byName
}

// drained returns when no message waits in any flow. It fails once patience has passed in which
// no fewer waited: how long a message takes is the disk's.
func drained(h *host) {
	h.t.Helper()
	fewest, since := int64(math.MaxInt64), time.Now()
	for {
		figures, waiting := flowsOf(h), int64(0)
		for _, f := range figures {
			waiting += f.Messages
		}
		switch {
		case waiting == 0:
			return
		case waiting < fewest:
			fewest, since = waiting, time.Now()
		case time.Since(since) > patience:
			h.t.Fatalf("the flows are not emptied: %+v", figures)
		}
		<-time.After(50 * time.Millisecond)
	}
}

// post publishes a text to the source, and returns the HTTP status and the body of the answer.
func post(h *host, id, text string) (status int, answer string, err error) {
	url := strings.TrimSuffix(h.url(), "/jsonrpc") + "/Service/Flows/texts"
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Message-Id", id)
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

// What a source's own plugin publishes goes to the topics of the source, over the host's socket
// for the plugin.
func TestPluginPublishesToItsSource(t *testing.T) {
	runBeside(t)
	s := newFlowSite(t)
	h := s.startWithLines()
	var id string
	h.must("Lines.say", "one\ntwo", &id)
	drained(h)
	if text, err := os.ReadFile(s.kept); err != nil || string(text) != "ONE\nTWO\n" {
		t.Errorf("the sink has %q, %v", text, err)
	}
	h.must("Flows.stop", map[string]any{"flow": "texts"}, nil)
	if err := h.ask("Lines.say", "three", &id); err == nil || !strings.Contains(err.Error(), "it is stopped: dormouse flow run texts") {
		t.Errorf("to a stopped flow: %v", err)
	}
	h.end()
}

// publisher numbers its messages, and goes on to the next when the last was accepted.
type publisher struct {
	name     string
	accepted atomic.Int64
}

// run publishes to whichever host there is, until ctx ends.
func (p *publisher) run(ctx context.Context, now *atomic.Pointer[host]) {
	for n := 1; ctx.Err() == nil; {
		text := fmt.Sprintf("%s %d", p.name, n)
		if status, _, err := post(now.Load(), text, text); err == nil && //nolint:contextcheck // a message under way is told to the end
			status == http.StatusAccepted {
			p.accepted.Store(int64(n))
			n++
		}
	}
}

// What was acknowledged is in the ledger of the sink, in order for each publisher, although the
// host and the plugin are killed over and over.
func TestFlowsKeepWhatTheyAccept(t *testing.T) {
	runBeside(t)
	s := newFlowSite(t)
	var now atomic.Pointer[host]
	now.Store(s.startWithLines())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	publishers := make([]publisher, 4)
	var running sync.WaitGroup
	for i := range publishers {
		publishers[i].name = fmt.Sprintf("P%d", i)
		running.Go(func() { publishers[i].run(ctx, &now) })
	}
	accepted := func() (sum int64) {
		for i := range publishers {
			sum += publishers[i].accepted.Load()
		}
		return sum
	}
	rounds := 6
	if thorough {
		rounds = 40
	}
	for round := range rounds {
		goal := accepted() + 25
		until(t, "messages to be accepted", func() bool { return accepted() >= goal })
		h := now.Load()
		switch round % 3 {
		case 0:
			must(t, h.cmd.Process.Kill())
			h.killed()
			now.Store(s.start(""))
			now.Load().ready()
		case 1:
			s.killLines(h)
		case 2:
			h.must("Controller.deactivate", map[string]any{"callsign": "Lines"}, nil)
			h.must("Controller.activate", map[string]any{"callsign": "Lines"}, nil)
		}
	}
	stop()
	running.Wait()
	drained(now.Load())
	s.checkLedger(now.Load(), publishers)
	now.Load().end()
}

// killLines kills the plugin, and starts it again once it has ended.
func (s *flowSite) killLines(h *host) {
	h.t.Helper()
	var all []struct {
		State string
		PID   int
	}
	h.must("Controller.status@Lines", nil, &all)
	if err := syscall.Kill(all[0].PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		h.t.Fatal(err)
	}
	until(h.t, "the plugin to end", func() bool {
		h.must("Controller.status@Lines", nil, &all)
		return all[0].State == "deactivated"
	})
	h.must("Controller.activate", map[string]any{"callsign": "Lines"}, nil)
}

// checkLedger compares what was accepted with what the sink has written, or the host has among
// the dead letters. A message may be there twice, but none before the one that was published
// before it.
func (s *flowSite) checkLedger(h *host, publishers []publisher) {
	h.t.Helper()
	text, err := os.ReadFile(s.kept)
	must(h.t, err)
	seen := make(map[string]int64) // the greatest number of each publisher
	dead := s.deadTexts(h)
	for line := range strings.Lines(string(text)) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			h.t.Fatalf("the sink has the line %q", line)
		}
		for next := seen[name] + 1; next < n; next++ {
			if !dead[fmt.Sprintf("%s %d", name, next)] {
				h.t.Errorf("%s %d was kept, and %d was not before", name, n, next)
			}
		}
		seen[name] = max(seen[name], n)
	}
	total := int64(0)
	for i := range publishers {
		p := &publishers[i]
		total += p.accepted.Load()
		if got := seen[p.name]; got < p.accepted.Load() && !dead[fmt.Sprintf("%s %d", p.name, p.accepted.Load())] {
			h.t.Errorf("%s had %d messages accepted, and the sink has %d", p.name, p.accepted.Load(), got)
		}
	}
	h.t.Logf("%d messages were accepted, the sink wrote %d lines, %d are dead letters", total, strings.Count(string(text), "\n"), len(dead))
}

// deadTexts returns the bodies of all dead letters, in upper case.
func (s *flowSite) deadTexts(h *host) map[string]bool {
	h.t.Helper()
	texts := make(map[string]bool)
	for name := range flowsOf(h) {
		var letters []struct{ Key int64 }
		h.must("Flows.dead", map[string]any{"flow": name, "limit": 1000}, &letters)
		for _, d := range letters {
			var letter struct{ Body string }
			h.must("Flows.showdead", map[string]any{"flow": name, "key": d.Key}, &letter)
			body, err := base64.StdEncoding.DecodeString(letter.Body)
			must(h.t, err)
			texts[strings.ToUpper(string(body))] = true
		}
	}
	return texts
}
