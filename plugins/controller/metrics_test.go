package controller

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dormouse/shell"
)

func TestMetrics(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Auto.1.register", `{"event":"changed","id":"c"}`)
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.must("Controller.1.hibernate", `{"callsign":"Auto"}`)
	h.plugins["Plain"].Sink.Exited(errors.New("it fell over"))
	plain, _ := h.supervisor.Shell("Plain")
	eventually(t, func() bool { return plain.State() == shell.Deactivated })
	if err := plain.Activate(context.Background(), shell.Automatic); err != nil {
		t.Fatal(err)
	}
	a := h.request(t, "GET", "/metrics", "")
	if kind := a.header.Get("Content-Type"); a.status != 200 || kind != "text/plain; version=0.0.4; charset=utf-8" {
		t.Fatalf("got %d %s", a.status, kind)
	}
	lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	form := regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?\d+$`)
	declared := ""
	for _, line := range lines {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			declared, _, _ = strings.Cut(name, " ")
			continue
		}
		if m := form.FindStringSubmatch(line); !strings.HasPrefix(line, "# HELP ") && (m == nil || m[1] != declared) {
			t.Errorf("%q is no sample of %s", line, declared)
		}
	}
	for _, want := range []string{
		`dormouse_websockets 1`,
		`dormouse_left_out_files 0`,
		`dormouse_instances{state="hibernated"} 1`,
		`dormouse_instances{state="waking"} 0`,
		`dormouse_instance_state{callsign="Auto",state="hibernated",control="suspended"} 1`,
		`dormouse_instance_memory_bytes{callsign="Plain"} 4096`,
		`dormouse_instance_image_bytes{callsign="Auto"} 4096`,
		`dormouse_instance_calls_total{callsign="Auto"} 1`,
		`dormouse_instance_subscriptions{callsign="Auto"} 1`,
		`dormouse_instance_exits_total{callsign="Plain"} 1`,
		`dormouse_instance_restarts_total{callsign="Plain"} 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is missing from:\n%s", want, a.body)
		}
	}
}

// A callsign that is used again begins anew.
func TestCountsEndWithTheInstance(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	for range 2 {
		c.must("Controller.1.clone", `{"callsign":"P","newcallsign":"P2"}`)
		c.must("P2.1.versions", "")
		if body := h.request(t, "GET", "/metrics", "").body; !strings.Contains(body, `dormouse_instance_calls_total{callsign="P2"} 1`+"\n") {
			t.Errorf("not one call is counted:\n%s", body)
		}
		c.must("Controller.1.destroy", `{"callsign":"P2"}`)
	}
}

func TestMetricsEscape(t *testing.T) {
	var m metricsText
	m.BeginMetric("x", "gauge", "Help.")
	m.WriteSample(-1, "a", "b\\\"\n", "c", "d")
	const want = "# HELP x Help.\n# TYPE x gauge\nx{a=\"b\\\\\\\"\\n\",c=\"d\"} -1\n"
	if m.String() != want {
		t.Errorf("got %s", m.String())
	}
}
