package systemd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	address  = "127.0.0.1:9998"
	patience = 30 * time.Second
	service  = "dormouse.service"
)

// configuration has two counters, of which one runs all the time.
const configuration = `
[host]
on-host-exit = %q

[[plugin]]
callsign = "Awake"
executable = "/lab/bin/counter"
sleep = "checkpoint"
start-mode = "activated"
resumed = false

[[plugin]]
callsign = "Asleep"
executable = "/lab/bin/counter"
sleep = "checkpoint"
`

func configure(t *testing.T, onHostExit string, more ...string) {
	t.Helper()
	if err := os.MkdirAll("/etc/dormouse", 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(configuration, onHostExit) + strings.Join(more, "")
	if err := os.WriteFile("/etc/dormouse/dormouse.toml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// install makes the shipped unit the manager's, with changes to its text.
func install(t *testing.T, unit string, changes ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(lab, "units", unit))
	if err != nil {
		t.Fatal(err)
	}
	changes = append(changes, "/usr/local/bin/", lab+"/bin/")
	changed := strings.NewReplacer(changes...).Replace(string(text))
	if err := os.WriteFile(filepath.Join("/run/systemd/system", unit), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "daemon-reload")
}

// systemctl runs a command on the service. What starts it does so however often it has been
// started: a fast machine takes the tests' hosts for one that can't start.
func systemctl(t *testing.T, args ...string) {
	t.Helper()
	if args[0] == "start" || args[0] == "restart" {
		_ = exec.Command("systemctl", "reset-failed", service).Run() // fails if it was never loaded
	}
	if out, err := exec.Command("systemctl", args...).CombinedOutput(); err != nil {
		t.Fatalf("systemctl %s: %v\n%s\n%s", strings.Join(args, " "), err, out, journal(t))
	}
}

// property is what systemd says of the service.
func property(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("systemctl", "show", "--value", "--property="+name, service).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func expectProperty(t *testing.T, name, want string) {
	t.Helper()
	if got := property(t, name); got != want {
		t.Errorf("%s is %s, want %s", name, got, want)
	}
}

// ready returns when the service says that it is.
func ready(t *testing.T) {
	t.Helper()
	until(t, "the service to be ready", func() bool { return property(t, "SubState") == "running" })
}

func mainPID(t *testing.T) int {
	t.Helper()
	pid, err := strconv.Atoi(property(t, "MainPID"))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// journal returns what the service has said, all of it: the journal takes its time.
func journal(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("journalctl", "--sync").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("journalctl", "--no-pager", "--output=cat", "--unit="+service).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// entriesWith returns the entries of the service in the journal that have the fields.
func entriesWith(t *testing.T, fields ...string) (entries []map[string]any) {
	t.Helper()
	args := append([]string{"--no-pager", "--output=json", "--unit=" + service}, fields...)
	out, err := exec.Command("journalctl", args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var entry map[string]any
		if err := decoder.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// errRefused is an answer with an error in it.
var errRefused = errors.New("refused")

// ask makes one call, on a connection of its own.
func ask(method string, params, result any) error {
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post("http://"+address+"/jsonrpc", "application/json", bytes.NewReader(request))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct{ Result, Error json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	switch {
	case answer.Error != nil:
		return fmt.Errorf("%s: %w: %s", method, errRefused, answer.Error)
	case result == nil:
		return nil
	}
	return json.Unmarshal(answer.Result, result)
}

func must(t *testing.T, method string, params, result any) {
	t.Helper()
	if err := ask(method, params, result); err != nil {
		t.Fatalf("%v; the journal is:\n%s", err, journal(t))
	}
}

func count(t *testing.T, callsign string) (n struct{ Value int }) {
	t.Helper()
	must(t, callsign+".get", nil, &n)
	return n
}

// operate does something to an instance.
func operate(t *testing.T, verb, callsign string) {
	t.Helper()
	must(t, "Controller."+verb, map[string]string{"callsign": callsign}, nil)
}

type status struct {
	State, ClassName, Error string
	PID                     int
	History                 []struct{ Event string }
}

func look(t *testing.T, callsign string) status {
	t.Helper()
	var all []status
	must(t, "Controller.status@"+callsign, nil, &all)
	if len(all) != 1 {
		t.Fatalf("got %+v", all)
	}
	return all[0]
}

// expect looks whether the counter is the process that it was, and stands where it
// should.
func expect(t *testing.T, pid, value int) {
	t.Helper()
	if st := look(t, "Awake"); st.PID != pid || st.History[0].Event != "adopt" {
		t.Errorf("it was process %d and is %+v", pid, st)
	}
	if got := count(t, "Awake").Value; got != value {
		t.Errorf("it counts %d, want %d", got, value)
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s; the journal is:\n%s", what, journal(t))
		}
	}
}

// caller calls a counter again and again.
type caller struct {
	t        *testing.T
	stop     chan struct{}
	ended    chan struct{}
	answered atomic.Int64
	failed   []error // all but refused connections, which fail the test
}

func call(t *testing.T) *caller {
	t.Helper()
	c := &caller{t: t, stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		for {
			select {
			case <-c.stop:
				return
			default:
			}
			switch err := ask("Awake.increment", nil, nil); {
			case err == nil:
				c.answered.Add(1)
			case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, errRefused):
				t.Errorf("a client is turned away: %v", err)
				return
			default:
				c.failed = append(c.failed, err)
			}
		}
	}()
	c.more()
	return c
}

// more returns when another call was answered.
func (c *caller) more() {
	c.t.Helper()
	before := c.answered.Load()
	until(c.t, "another answer", func() bool { return c.answered.Load() > before })
}

// end returns how many calls were answered, and what became of the others.
func (c *caller) end() (answered int, failed []error) {
	c.t.Helper()
	c.more()
	close(c.stop)
	<-c.ended
	return int(c.answered.Load()), c.failed
}

// listens reports whether a connection to the service's address is accepted.
func listens() bool {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}
