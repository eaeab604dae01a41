package controller

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dormouse/configs"
	"dormouse/internal/store"
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

// A client that names a missing instance is told which file to mend, and not what is in it.
func TestMissing(t *testing.T) {
	h := newHost(t, setup{leftOut: configs.LeftOutFiles{{
		Path: "/etc/d/a.toml", Problems: configs.LoadErrors{{Source: "/etc/d/a.toml", Line: 3, Err: errors.New("secret")}}, Callsigns: []string{"Absent"}, IsComplete: true,
	}, {
		Path: "/etc/d/b.toml", Problems: configs.LoadErrors{{Source: "/etc/d/b.toml", Err: errors.New("secret")}},
	}}})
	c := h.dial(t, "/jsonrpc")
	want := `[{"file":"/etc/d/a.toml","faults":"/etc/d/a.toml:3","callsigns":["Absent"],"complete":true},{"file":"/etc/d/b.toml","faults":"/etc/d/b.toml","callsigns":[],"complete":false}]`
	if got := c.do("Controller.1.missing", ""); !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, call := range [][2]string{
		{"Absent.1.echo", ""}, {"Controller.1.status@Absent", ""}, {"Controller.1.explain@Absent", ""}, {"Controller.1.configuration@Absent", ""},
		{"Controller.1.configuration@Absent", "{}"}, {"Controller.1.activate", `{"callsign":"Absent"}`}, {"Controller.1.clone", `{"callsign":"Absent","newcallsign":"Copy"}`},
		{"Controller.1.clone", `{"callsign":"Plain","newcallsign":"Absent"}`}, {"Controller.1.destroy", `{"callsign":"Absent"}`}, {"Controller.1.persist", `{"callsign":"Absent"}`},
	} {
		got := c.do(call[0], call[1])
		if cause := "the file that defines it could not be used when the host started: see /etc/d/a.toml:3, mend it and reload"; !strings.Contains(got, cause) || strings.Contains(got, "secret") {
			t.Errorf("%s %s: got %s", call[0], call[1], got)
		}
	}
	if got := c.do("Other.1.echo", ""); !strings.Contains(got, "the file that may define it could not be used when the host started: see /etc/d/b.toml") {
		t.Errorf("got %s", got)
	}
	if metrics := h.request(t, "GET", "/metrics", "").body; !strings.Contains(metrics, "\ndormouse_left_out_files 2\n") {
		t.Error("the metrics don't count the files")
	}
}

// A client is told of a damaged store, and whether the store is new.
func TestStore(t *testing.T) {
	health := store.Health{Checked: time.Date(2026, 12, 1, 1, 2, 3, 0, time.UTC)}
	h := newHost(t, setup{options: Options{StoreHealth: func() store.Health { return health }}})
	c := h.dial(t, "/jsonrpc")
	if got, want := c.do("Controller.1.store", ""), `{"damage":"","checked":"2026-12-01T01:02:03Z","rebuilt":false}`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	health = store.Health{Damage: "page 7", Rebuilt: true}
	if got, want := c.do("Controller.1.store", ""), `{"damage":"page 7","rebuilt":true}`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if metrics := h.request(t, "GET", "/metrics", "").body; !strings.Contains(metrics, "\ndormouse_store_damaged 1\n") {
		t.Error("the metrics don't say that it is damaged")
	}
}
