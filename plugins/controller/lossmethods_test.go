package controller

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/shell"
)

// lose makes Auto lose what it slept in. It is started cold in the same activation.
func (h *host) lose(t *testing.T, cause error) {
	t.Helper()
	auto, _ := h.supervisor.Shell("Auto")
	if err := auto.Hibernate(t.Context(), shell.Requested, 0); err != nil {
		t.Fatal(err)
	}
	h.plugins["Auto"].Fail("wake", cause)
	defer h.plugins["Auto"].Fail("wake", nil)
	if err := auto.Activate(t.Context(), shell.Requested); err != nil {
		t.Fatal(err)
	}
}

// A loss is in status, in the answer of activate, in the metrics and an event, until it is
// acknowledged.
func TestLossIsTold(t *testing.T) {
	for _, d := range []string{"r4", "r5"} {
		t.Run(d, func(t *testing.T) {
			h := newHost(t, setup{})
			c := h.dial(t, "/jsonrpc?dialect="+d)
			c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
			if got := c.do("Controller.1.losses", ""); !strings.Contains(got, `"result":[]`) {
				t.Errorf("before, losses is %s", got)
			}
			c.must("Controller.1.register", `{"event":"lost","id":"c"}`)
			h.lose(t, fmt.Errorf("%w: libfoo was replaced", hibernate.ErrChanged))
			if got := c.receive(); !strings.Contains(got, `"method":"c.lost","params":{"callsign":"Auto","at":"`) ||
				!strings.Contains(got, `"class":"lasting"`) || strings.Contains(got, "libfoo") {
				t.Errorf("the event is %s", got)
			}

			answer := decode[lossesAnswer](t, c.do("Controller.1.activate", `{"callsign":"Auto"}`))
			if len(answer.Lost) != 1 || answer.Lost[0].Path != "/aside" || !answer.Lost[0].Restorable || !strings.Contains(answer.Lost[0].Cause, "libfoo was replaced") {
				t.Errorf("the answer of activate is %+v", answer)
			}
			if got := c.do("Controller.1.activate", `{"callsign":"Plain"}`); !strings.Contains(got, `"result":null`) {
				t.Errorf("the answer of an instance that lost nothing is %s", got)
			}
			all := decode[[]lossOfInstance](t, c.do("Controller.1.losses", ""))
			if len(all) != 1 || all[0].Callsign != "Auto" || all[0].Loss != answer.Lost[0] {
				t.Errorf("losses is %+v", all)
			}
			if got := c.do("Controller.1.status@Auto", ""); !strings.Contains(got, `"lost":[{"at":"`) {
				t.Errorf("the status is %s", got)
			}
			h.expectMetrics(t, "dormouse_losses 1\n", `dormouse_instance_losses{callsign="Auto"} 1`+"\n", `dormouse_instance_losses{callsign="Plain"} 0`+"\n")

			if got := c.do("Controller.1.acknowledge", `{"callsign":"Nope"}`); !strings.Contains(got, "UNKNOWN_KEY") {
				t.Errorf("an unknown callsign is acknowledged: %s", got)
			}
			if got := c.do("Controller.1.acknowledge", `{"callsign":"Auto"}`); !strings.Contains(got, `"result":1`) {
				t.Errorf("the acknowledgement is %s", got)
			}
			if got := c.do("Controller.1.activate", `{"callsign":"Auto"}`); !strings.Contains(got, `"result":null`) {
				t.Errorf("after the acknowledgement the answer is %s", got)
			}
			h.expectMetrics(t, "dormouse_losses 0\n")
		})
	}
}

// expectMetrics fails the test unless the metrics have the parts.
func (h *host) expectMetrics(t *testing.T, parts ...string) {
	t.Helper()
	answer := h.serveAs(withRole(access.Read), requestFor(t, http.MethodGet, "/metrics", ""))
	for _, part := range parts {
		if !strings.Contains(answer.Body.String(), part) {
			t.Errorf("the metrics lack %q", part)
		}
	}
}

// Readers learn that a state was lost, but not the texts and paths that go with it.
func TestReadersSeeLossesWithoutDetails(t *testing.T) {
	h := newGuardedHost(t, setup{})
	auto, _ := h.supervisor.Shell("Auto")
	if err := auto.Suspend(t.Context(), shell.Requested); err != nil {
		t.Fatal(err)
	}
	h.lose(t, fmt.Errorf("%w: /etc/hunter2 was replaced", hibernate.ErrChanged))
	for _, method := range []string{"Controller.1.losses", "Controller.1.status@Auto"} {
		reader, operator := readerAndOperatorSee(t, h, method)
		if !strings.Contains(reader, `"class":"lasting"`) || strings.Contains(reader, "hunter2") || strings.Contains(reader, "/aside") {
			t.Errorf("%s shows a reader %s", method, reader)
		}
		if !strings.Contains(operator, "hunter2") || !strings.Contains(operator, "/aside") {
			t.Errorf("%s shows an operator %s", method, operator)
		}
	}
}

// An image that was put aside is put back once the instance is deactivated.
func TestRestoreImage(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	h.lose(t, fmt.Errorf("%w: libfoo was replaced", hibernate.ErrChanged))
	for params, want := range map[string]string{
		`{"callsign":"Auto"}`:                    `"code":5,`,
		`{"callsign":"Nope"}`:                    "UNKNOWN_KEY",
		`{"callsign":"Auto","generation":"old"}`: "is not the number of an image",
		`{}`:                                     "is missing",
	} {
		if got := c.do("Controller.1.restoreimage", params); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", params, got, want)
		}
	}
	c.must("Controller.1.deactivate", `{"callsign":"Auto"}`)
	c.must("Controller.1.restoreimage", `{"callsign":"Auto","generation":1}`)
	if got := c.do("Controller.1.status@Auto", ""); !strings.Contains(got, `"state":"hibernated"`) || strings.Contains(got, `"lost"`) {
		t.Errorf("the status is %s", got)
	}
	if got := c.do("Controller.1.restoreimage", `{"callsign":"Plain"}`); !strings.Contains(got, `"code":5,`) {
		t.Errorf("an instance that runs: %s", got)
	}
}

// An active instance is kept awake for a time, and one that sleeps is not.
func TestKeepAwake(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.keepawake", `{"callsign":"Auto","duration":3600000}`)
	if got := decode[dialect.Explanation](t, c.do("Controller.1.explain@Auto", "")); parseTime(t, got.LastUse).Before(time.Now().Add(50 * time.Minute)) {
		t.Errorf("it counts as used until %s", got.LastUse)
	}
	for params, want := range map[string]string{
		`{"callsign":"Nope","duration":1}`:  "UNKNOWN_KEY",
		`{"callsign":"Auto"}`:               "is missing",
		`{"callsign":"Auto","duration":-1}`: "not a number of milliseconds",
	} {
		if got := c.do("Controller.1.keepawake", params); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", params, got, want)
		}
	}
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.must("Controller.1.hibernate", `{"callsign":"Auto"}`)
	if got := c.do("Controller.1.keepawake", `{"callsign":"Auto","duration":1}`); !strings.Contains(got, `"code":5,`) {
		t.Errorf("what sleeps is kept awake: %s", got)
	}
}

func parseTime(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
