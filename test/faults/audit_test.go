package faults

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"dormouse/internal/cgroup"
)

// report is what test/audit prints.
type report struct {
	Host *struct {
		PID, Descriptors, Children, Goroutines int
		Kinds                                  map[string]int
		RSS                                    int64
	}
	Instances []inspected
	PIDs      []int
	Cgroups   []string
	Wrong     []string
}

type inspected struct {
	Callsign, State        string
	Processes, Descriptors int
	Image, RSS             int64
	Refused                bool
	Aside                  int
}

// of returns what there is of an instance.
func (r report) of(callsign string) (i inspected) {
	for _, i = range r.Instances {
		if i.Callsign == callsign {
			return i
		}
	}
	return inspected{}
}

// inspect has the audit look at the site, which must be in order.
func (s *site) inspect() (r report) {
	s.t.Helper()
	var out, complaint bytes.Buffer
	cmd := exec.Command(programs+"/audit", "--settle", patience.String(), "--images", s.images, s.root)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if jerr := json.Unmarshal(out.Bytes(), &r); jerr != nil {
		s.t.Fatalf("the audit failed: %v, %v\n%s", err, jerr, complaint.String())
	}
	if err != nil {
		s.t.Errorf("the audit found:\n%s", out.String())
	}
	return r
}

// audit looks from outside, without the host's word, at what there is on behalf of
// a site whose one instance is in that state; with a host, "" stands for any state. No image may
// have been refused.
func audit(t *testing.T, s *site, h *host, state string) {
	t.Helper()
	r := s.inspect()
	if (r.Host != nil) != (h != nil) {
		t.Errorf("want a host: %v, there is %+v", h != nil, r.Host)
	}
	if h == nil && state == "" {
		if len(r.Instances) > 0 {
			t.Errorf("there are %+v", r.Instances)
		}
		return
	}
	i := r.of("Counter")
	if state != "" && i.State != state && (state != "active" || i.State != "suspended" && i.State != "resumed") {
		t.Errorf("it is %s, want %s", i.State, state)
	}
	if state == "active" && i.Processes != 2 {
		t.Errorf("it has %d processes", i.Processes)
	}
	if i.Refused || i.Aside > 0 {
		t.Error("an image was refused or put aside")
	}
}

// clear ends all processes that a failed test has left, except the host.
func (s *site) clear() {
	out, _ := exec.Command(programs+"/audit", "--settle", "0", "--images", s.images, s.root).Output()
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		return
	}
	for _, pid := range r.PIDs {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, dir := range slices.Backward(r.Cgroups) {
		until(s.t, "the cgroup to be empty", func() bool {
			return len(cgroup.Dir(dir).Members()) == 0
		})
		_ = os.Remove(dir)
	}
}
