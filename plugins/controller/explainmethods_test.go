package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
)

func TestExplain(t *testing.T) {
	h := newHost(t, setup{plugins: func(p *configs.Plugin) {
		if p.Callsign == "Auto" {
			p.IdleSuspend, p.IdleHibernate = configs.IdleTime(time.Hour), configs.IdleTime(2*time.Hour)
		}
	}})
	c := h.dial(t, "/jsonrpc")
	got := decode[dialect.Explanation](t, c.do("Controller.1.explain@Auto", ""))
	want := dialect.Explanation{
		Callsign: "Auto", State: "activated", Saves: 4096,
		Keeps: []string{"it was started or woken less than 10s ago (min-awake)"},
		Next:  &dialect.NextSleep{Do: "suspend", Because: "it has not been used for 1h0m0s (idle-suspend)"},
	}
	ignored := cmp.Options{cmpopts.IgnoreFields(dialect.Explanation{}, "Why", "LastUse"), cmpopts.IgnoreFields(dialect.NextSleep{}, "At")}
	if diff := cmp.Diff(want, got, ignored); diff != "" {
		t.Errorf("explain (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got.Why, "the host will suspend it in ") {
		t.Errorf("why is %q", got.Why)
	}
	at, err := time.Parse(time.RFC3339, got.Next.At)
	used, uerr := time.Parse(time.RFC3339, got.LastUse)
	if err != nil || uerr != nil || at.Sub(used).Round(time.Second) != time.Hour {
		t.Errorf("it is due at %s, %v, and was used at %s, %v", at, err, used, uerr)
	}

	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.must("Controller.1.hibernate", `{"callsign":"Auto"}`)
	got = decode[dialect.Explanation](t, c.do("Controller.1.explain@Auto", ""))
	want = dialect.Explanation{Callsign: "Auto", State: "hibernated", Why: `it is hibernated, and calls are refused until it is activated (on-call = "reject")`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("explain (-want +got):\n%s", diff)
	}
	for designator, code := range map[string]string{"Controller.1.explain": `"code":-32603`, "Controller.1.explain@Nobody": `"code":22`} {
		if got := c.do(designator, ""); !strings.Contains(got, code) {
			t.Errorf("%s: got %s, want %s", designator, got, code)
		}
	}
}
