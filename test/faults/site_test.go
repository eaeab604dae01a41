package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// site is the root of one host after another, with its configuration.
type site struct {
	t       *testing.T
	root    string
	config  string
	program string
	images  string
	env     []string // of its hosts
	stderr  *os.File // of its hosts, nil for their log
}

// newSite makes one whose configuration begins with text, followed by plugins.
func newSite(t *testing.T, text string, plugins ...string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "df") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, root: filepath.Join(dir, "r"), config: filepath.Join(dir, "dormouse.toml"), program: programs + "/dormouse"}
	s.images = filepath.Join(s.root, "images")
	t.Cleanup(func() {
		s.clear()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	s.configure(text, plugins...)
	return s
}

func (s *site) configure(text string, plugins ...string) {
	s.t.Helper()
	if err := os.WriteFile(s.config, []byte(text+"\n"+strings.Join(plugins, "\n")), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// plugin is the table of an instance that is active and suspended when the host
// starts, with more lines.
func plugin(callsign, program string, lines ...string) string {
	return fmt.Sprintf("[[plugin]]\ncallsign = %q\nexecutable = %q\nstart-mode = \"activated\"\nresumed = false\n%s\n",
		callsign, program, strings.Join(lines, "\n"))
}

// counter is the instance of most sites, which counts from 41. It sleeps on disk or not at
// all: another test may give the machine a swap.
func counter(lines ...string) string {
	return plugin("Counter", programs+"/counter", append(lines, `sleep = "checkpoint"`, "configuration = { start = 41 }")...)
}

// policy is a site's configuration with on-host-exit.
func policy(name string) string { return fmt.Sprintf("[host]\non-host-exit = %q\n", name) }

// host is one process that serves the site.
type host struct {
	t     *testing.T
	cmd   *exec.Cmd
	log   journal
	ended chan struct{}

	mu      sync.Mutex
	address string
}

// journal may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (h *host) setAddress(text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.address = strings.TrimSpace(text)
}

func (h *host) url() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return "http://" + h.address + "/jsonrpc"
}

// start starts a host that is killed at point, and returns when it serves or has
// ended.
func (s *site) start(point string) *host {
	s.t.Helper()
	h := &host{t: s.t, ended: make(chan struct{})}
	h.cmd = exec.Command(s.program, "serve", "--config", s.config, "--root", s.root, "--listen", "127.0.0.1:0", "--log-format", "json")
	h.cmd.Env = append(append(os.Environ(), "DORMOUSE_FAILPOINT="+point, "DORMOUSE_LISTEN="), s.env...)
	h.cmd.Stderr = &h.log
	if s.stderr != nil {
		h.cmd.Stderr = s.stderr
	}
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	address := filepath.Join(s.root, "address")
	_ = os.Remove(address) // that of a host that was killed
	if err := h.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(h.ended)
		_ = h.cmd.Wait()
	}()
	s.t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		<-h.ended
	})
	until(s.t, "the host to listen", func() bool {
		text, err := os.ReadFile(address)
		if at := h.loggedAddress(); err != nil && at != "" { // the disk is full
			text, err = []byte(at), nil
		}
		h.setAddress(string(text))
		return err == nil || h.dead()
	})
	return h
}

// loggedAddress is where the host listens according to its log, "" before it does.
func (h *host) loggedAddress() string {
	for line := range strings.Lines(h.log.String()) {
		var entry struct{ Message, Address string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Message == "listening" {
			return entry.Address
		}
	}
	return ""
}

func (h *host) dead() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}

// killed returns when the host has ended by SIGKILL, which it must.
func (h *host) killed() {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.t.Fatalf("the host lives on; its log is:\n%s", h.log.String())
	}
	status, ok := h.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || status.Signal() != syscall.SIGKILL {
		h.t.Fatalf("the host ended with %v; its log is:\n%s", h.cmd.ProcessState, h.log.String())
	}
}

// end stops the host in order.
func (h *host) end() {
	h.t.Helper()
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-h.ended:
	case <-time.After(patience):
		h.t.Fatal("the host does not end")
	}
	if code := h.cmd.ProcessState.ExitCode(); code != 0 {
		h.t.Errorf("the host ended with %d; its log is:\n%s", code, h.log.String())
	}
}

// errRefused is an answer with an error in it.
var errRefused = errors.New("refused")

// ask makes one JSON-RPC call.
func (h *host) ask(method string, params, result any) error {
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post(h.url(), "application/json", bytes.NewReader(request))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %w: %s", method, errRefused, answer.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}

// trap is in the error of a wake when CRIU has lost a race against itself, as it does now and
// then on a busy machine. The plugin sleeps on, and can be woken again.
const trap = "stopped by signal 5: Trace/breakpoint trap"

// must is ask when it has to succeed. After a trap it asks up to twice more.
func (h *host) must(method string, params, result any) {
	h.t.Helper()
	err := h.ask(method, params, result)
	for tries := 0; tries < 2 && err != nil && strings.Contains(err.Error(), trap); tries++ {
		err = h.ask(method, params, result)
	}
	if err != nil {
		h.t.Fatalf("%v; the host's log is:\n%s", err, h.log.String())
	}
}

func (h *host) count() (n struct{ Value int }) {
	h.t.Helper()
	h.must("Counter.get", nil, &n)
	return n
}

// status is what the host says of the counter.
type status struct {
	State   string
	Since   time.Time
	PID     int
	Reason  string
	Error   string
	Loading *struct{ Done, Total int64 }
	History []entry
}

// entry is one transition.
type entry struct {
	At                             time.Time
	Event, From, To, Reason, Error string
}

func (h *host) status() (s status) {
	h.t.Helper()
	var all []status
	h.must("Controller.status@Counter", nil, &all)
	if len(all) != 1 {
		h.t.Fatalf("got %+v", all)
	}
	return all[0]
}

// ready returns when the host has done all that it does at its start.
func (h *host) ready() {
	h.t.Helper()
	until(h.t, "the host to be ready", func() bool { return strings.Contains(h.log.String(), `"message":"ready"`) })
}

// tried returns when the host knows whether CRIU works.
func (h *host) tried() {
	h.t.Helper()
	until(h.t, "the trial of CRIU", func() bool { return strings.Contains(h.log.String(), `"message":"hibernation is available"`) })
}

// settled returns the status once the host has done what it does at its start.
func (h *host) settled() (s status) {
	h.t.Helper()
	until(h.t, "the instance to settle", func() bool {
		if h.dead() {
			h.t.Fatalf("the host ended; its log is:\n%s", h.log.String())
		}
		s = h.status()
		return s.State == "hibernated" || s.State == "suspended" || s.State == "resumed"
	})
	return s
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// hibernate puts an instance to sleep that is active and suspended.
func (h *host) hibernate(callsign string) {
	h.t.Helper()
	h.must("Controller.hibernate", map[string]string{"callsign": callsign}, nil)
}

// wakeInTime wakes an instance as soon as it can be woken again.
func (h *host) wakeInTime(callsign string) {
	h.t.Helper()
	until(h.t, "the instance to wake", func() bool {
		return h.ask("Controller.activate", map[string]string{"callsign": callsign}, nil) == nil
	})
}

// image is where the image of an instance lies.
func (s *site) image(callsign string) string { return filepath.Join(s.images, callsign, "image") }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return text
}

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	must(t, os.WriteFile(path, text, 0o600))
}
