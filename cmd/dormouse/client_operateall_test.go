package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// fleetHost answers like a host with instances of which some can't be woken.
type fleetHost struct {
	fails map[string]bool
	// full is closed when as many activations are under way as are expected at the same time.
	full     chan struct{}
	filled   sync.Once
	expected int

	mu         sync.Mutex
	states     map[string]string
	underway   int
	mostAtOnce int
	awake      map[string]int // for how many milliseconds each is kept awake
}

// serve returns the address of the host.
func (h *fleetHost) serve(t *testing.T) (address string) {
	t.Helper()
	h.full = make(chan struct{})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func (h *fleetHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Method string
		Params struct {
			Callsign string
			Duration int
		}
	}
	_ = json.NewDecoder(r.Body).Decode(&request)
	if method, only, isStatus := strings.Cut(request.Method, "@"); method == "Controller.status" {
		h.answerStatus(w, only, isStatus)
		return
	}
	if request.Method == "Controller.keepawake" {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.awake == nil {
			h.awake = make(map[string]int)
		}
		h.awake[request.Params.Callsign] = request.Params.Duration
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":null}`)
		return
	}
	if h.activate(request.Params.Callsign) {
		_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"result":null}`)
		return
	}
	_, _ = fmt.Fprint(w, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"General error","data":{"cause":"it overslept"}}}`)
}

func (h *fleetHost) answerStatus(w http.ResponseWriter, only string, oneOnly bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var records []string
	for callsign, state := range h.states {
		if !oneOnly || callsign == only {
			records = append(records, fmt.Sprintf(`{"callsign":%q,"state":%q}`, callsign, state))
		}
	}
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":[%s]}`, strings.Join(records, ","))
}

// activate makes the instance suspended unless that fails. It waits until as many activations
// are under way as are expected.
func (h *fleetHost) activate(callsign string) (ok bool) {
	h.mu.Lock()
	h.underway++
	h.mostAtOnce = max(h.mostAtOnce, h.underway)
	if h.underway == h.expected {
		h.filled.Do(func() { close(h.full) })
	}
	h.mu.Unlock()
	<-h.full
	h.mu.Lock()
	defer h.mu.Unlock()
	h.underway--
	if h.fails[callsign] {
		return false
	}
	if h.states[callsign] == "hibernated" {
		h.states[callsign] = "suspended"
	}
	return true
}

// succeedFromNowOn lets no activation fail any more. It returns how many were under way at the
// same time at most.
func (h *fleetHost) succeedFromNowOn() (mostAtOnce int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fails, h.awake = nil, nil
	return h.mostAtOnce
}

// awakeFor returns how long instances are kept awake, in milliseconds.
func (h *fleetHost) awakeFor() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.awake)
}

func TestWakeAll(t *testing.T) {
	h := &fleetHost{
		states: map[string]string{"A": "hibernated", "B": "hibernated", "C": "deactivated", "D": "hibernated", "E": "resumed"},
		fails:  map[string]bool{"B": true}, expected: 2,
	}
	address := h.serve(t)
	r := dormouse(t, nil, "plugin", "wake", "--all", "--parallel", "2", "--host", address)
	r.expect(t, exitFailed, "A woken: suspended", "D woken: suspended", "!cannot wake B: it overslept", "!wake: 2 of 3 done")
	if strings.Contains(r.out+r.err, "C ") || strings.Contains(r.out+r.err, "E ") {
		t.Errorf("it tried to wake what does not sleep:\n%s%s", r.out, r.err)
	}
	if n := h.succeedFromNowOn(); n != 2 {
		t.Errorf("%d were woken at the same time, want 2", n)
	}

	var outcomes []operationOutcome
	r = dormouse(t, nil, "plugin", "wake", "--all", "--for", "90s", "-o", "json", "--host", address).expect(t, exitDone)
	if err := json.Unmarshal([]byte(r.out), &outcomes); err != nil || len(outcomes) != 1 || outcomes[0].Callsign != "B" || outcomes[0].Error != "" {
		t.Errorf("got %v, %+v, want that B is woken", err, outcomes)
	}
	if awake := h.awakeFor(); awake["B"] != 90_000 || len(awake) != 1 {
		t.Errorf("they are kept awake for %v ms, want B for 90000", awake)
	}
	dormouse(t, nil, "plugin", "wake", "--all", "--host", address).expect(t, exitDone, "!wake: there is nothing to do, no plugin is in a state for it")
	dormouse(t, nil, "plugin", "wake", "C", "--host", address).expect(t, exitFailed, "!cannot wake C: it does not sleep, it is deactivated; try: dormouse plugin activate C")
	dormouse(t, nil, "plugin", "wake", "E", "--host", address).expect(t, exitDone, "E was resumed already")
}

func TestAllOrNames(t *testing.T) {
	for _, line := range []string{"plugin wake", "plugin wake A --all", "plugin hibernate", "plugin resume --all A", "plugin wake --all --parallel 0"} {
		dormouse(t, nil, append(strings.Fields(line), "--host", "127.0.0.1:1")...).expect(t, exitUsage, "!--")
	}
	dormouse(t, nil, "plugin", "activate", "--all").expect(t, exitUsage, "!there is no flag --all here")
	dormouse(t, nil, "plugin", "wake", "--all", "--host", "127.0.0.1:1").expect(t, exitUnreachable, "!no host reached")
}
