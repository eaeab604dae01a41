package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// What each request is answered, in this order: later rows see what earlier
// ones did.
func TestREST(t *testing.T) {
	h := newHost(t, setup{})
	for _, tt := range []struct {
		method, path, body string
		want               string // status and body
	}{
		{"PUT", "Activate/P", "", "200 "},
		{"PUT", "Activate/P", "", "200 "}, // already so
		{"PUT", "Activate/P/", "", "200 "},
		{"PUT", "Activate/org.test.Dotted", "", "200 "},
		{"PUT", "Activate/org%2Etest%2EDotted", "", "200 "},
		{"PUT", "Activate/Nope", "", "404 There is no callsign: Nope\n"},
		{"PUT", "Activate/p", "", "404 There is no callsign: p\n"}, // case matters
		{"PUT", "Activate", "", "400 the path must end with a callsign\n"},
		{"PUT", "Activate/Controller", "", "403 The PluginHost Controller can not be activated.\n"},
		{"PUT", "Deactivate/Controller", "", "403 The PluginHost Controller can not be deactivated.\n"},
		{"PUT", "Hibernate/Controller", "", "403 The PluginHost Controller can not be hibernated.\n"},
		{"PUT", "Activate/Bad", "", "500 initialization failed: no such tuner\n"},
		{"PUT", "Activate/Unav", "", "409"},
		{"PUT", "Resume/P", "", "200 "},
		{"PUT", "Hibernate/P", "", "409"}, // not suspended
		{"PUT", "Suspend/P", "", "200 "},
		{"PUT", "Hibernate/P?timeout=soon", "", "400 the parameter \"timeout\" is not a number of milliseconds\n"},
		{"PUT", "Hibernate/P?timeout=5000", "", "200 "},
		{"GET", "../P", "", "410 The requested service is currently in the hibernated mode.\n"},
		{"PUT", "Activate/P", "", "200 "},
		{"GET", "../P", "", "503 The requested service is not loaded.\n"},
		{"GET", "../P/anything/else", "", "503 The requested service is not loaded.\n"},
		{"PUT", "Deactivate/P", "", "200 "},
		{"PUT", "Unavailable/P", "", "200 "},
		{"GET", "../P", "", "410 The requested service is currently in the deactivated mode.\n"},
		{"GET", "../Nope", "", "404 There is no callsign: Nope\n"},
		{"PUT", "Hibernate/Inside", "", "409"}, // in the host
		{"PUT", "", "", "400 Bad request.\n"},
		{"PUT", "Bogus", "", "400 Bad request.\n"},
		{"GET", "Bogus", "", "400 Bad request.\n"},
		{"GET", "Activate/P", "", "400 Bad request.\n"}, // reading changes nothing
		{"DELETE", "Activate/P", "", "400 Bad request.\n"},
		{"DELETE", "Persistent/", "", "400 the path must end with a file\n"},
		{"POST", "Activate/P", "", "400 There are no POST handlers!\n"},
		{"PATCH", "Activate/P", "", "405 the method is not allowed\n"},
		{"OPTIONS", "", "", "204 "},
		{"GET", "Plugin/Nope", "", "404 There is no callsign: Nope\n"},
		{"GET", "Plugin", "", "400 the path must end with a callsign\n"},
		{"GET", "Environment", "", "400 the path must end with a variable\n"},
		{"GET", "Callstack", "", "400 Please supply an index for the callstack you need!\n"},
		{"GET", "Discovery", "", "400 Probe functionality not enabled!\n"},
		{"PUT", "Discovery?TTL=1", "", "400 Probe functionality not enabled!\n"},
		{"PUT", "Configuration/P", "", "400 Not sufficent data to comply to the request\n"}, //nolint:misspell // as Thunder spells it
		{"PUT", "Configuration/P", "{", "400 Could not update the config. Error: the body is not JSON\n"},
		{"GET", "Version", "", `200 {"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}`},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			path := "/Service/Controller/" + tt.path
			if plugin, ok := strings.CutPrefix(tt.path, "../"); ok {
				path = "/Service/" + plugin
			}
			a := h.request(t, tt.method, path, tt.body)
			got := fmt.Sprint(a.status, " ", a.body)
			if tt.want == "409" { // the text says what stands in the way
				got = fmt.Sprint(a.status)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRESTShowsTheInstances(t *testing.T) {
	h := newHost(t, setup{})
	type shown struct {
		Plugins []struct{ Callsign, State string }
		Channel []any
		Server  *struct{ Threads []any }
	}
	for _, path := range []string{"/Service", "/Service/", "/Service/Controller", "/Service/Controller/", "/Service/Controller/Plugins"} {
		a := h.request(t, "GET", path, "")
		got := unmarshal[shown](t, a.body)
		var callsigns []string
		for _, p := range got.Plugins {
			callsigns = append(callsigns, p.Callsign+" "+p.State)
		}
		if !slices.IsSorted(callsigns) || !slices.Contains(callsigns, "Controller activated") || !slices.Contains(callsigns, "P deactivated") {
			t.Errorf("%s: %v", path, callsigns)
		}
		if whole := !strings.HasSuffix(path, "Plugins"); whole != (got.Channel != nil && got.Server != nil && got.Server.Threads != nil) {
			t.Errorf("%s: %s", path, a.body)
		}
		if head := h.request(t, "HEAD", path, ""); head.status != 200 || head.body != "" || head.header.Get("Content-Length") != a.header.Get("Content-Length") {
			t.Errorf("HEAD %s: %+v", path, head)
		}
		if kind, kept := a.header.Get("Content-Type"), a.header.Get("Cache-Control"); kind != "application/json" || kept != "no-store" {
			t.Errorf("%s: %q, %q", path, kind, kept)
		}
	}
	one := unmarshal[dialect.Record](t, h.request(t, "GET", "/Service/Controller/Plugin/Auto", "").body)
	if one.Callsign != "Auto" || one.State != "resumed" {
		t.Errorf("got %+v", one)
	}
	process := unmarshal[shown](t, h.request(t, "GET", "/Service/Controller/Process", "").body)
	if process.Server == nil || process.Plugins != nil {
		t.Errorf("got %+v", process)
	}
}

// What a method is asked, and what becomes of what it answers.
func TestRESTCallsMethods(t *testing.T) {
	for _, tt := range []struct {
		method, path, body string
		asked              string // method, index and parameters
		result             any
		fails              thunder.ErrorNumber
		want               string
	}{
		{"PUT", "Activate/P", "", `activate  {"callsign":"P"}`, nil, thunder.PendingConditions, "304 "},
		{"PUT", "Activate/P", "", `activate  {"callsign":"P"}`, nil, thunder.InProgress, "304 "},
		{"PUT", "Deactivate/P", "", `deactivate  {"callsign":"P"}`, nil, thunder.TimedOut, "504 TIMEDOUT\n"},
		{"PUT", "Suspend/P", "", `suspend  {"callsign":"P"}`, nil, thunder.NoStateControl, "501 UNAVAILABLE\n"},
		{"GET", "Links", "", `links  `, []int{1}, 0, `200 {"channel":[1]}`},
		{"GET", "Plugin/P", "", `status P `, map[string]any{"a": 1}, 0, `200 {"a":1}`},
		{"GET", "Plugin/P", "", `status P `, []map[string]any{{"a": 1}}, 0, `200 {"a":1}`},
		{"GET", "Environment/HOME", "", `environment HOME `, "/root", 0, `200 {"value":"/root"}`},
		{"GET", "Environment/NONE", "", `environment NONE `, nil, thunder.UnknownKey, `204 `},
		{"GET", "Configuration/P", "", `configuration P `, map[string]any{"a": 1}, 0, `200 {"a":1}`},
		{"GET", "Configuration/No", "", `configuration No `, nil, thunder.UnknownKey, "404 There is no callsign: No\n"},
		{"PUT", "Configuration/P", `{"a":2}`, `configuration P {"a":2}`, nil, 0, `200 `},
		{"PUT", "Configuration/P", `7`, `configuration P 7`, nil, 23, "400 Could not update the config. Error: INCOMPLETE_CONFIG\n"},
		{"GET", "Callstack/0", "", `callstack 0 `, []int{7}, 0, `200 [7]`},
		{"GET", "Callstack/99", "", `callstack 99 `, nil, thunder.UnknownKey, "404 UNKNOWN_KEY\n"},
		{"PUT", "Persist", "", `persist  `, nil, 0, "200 Current configuration stored\n"},
		{"PUT", "Persist", "", `persist  `, nil, thunder.General, "500 GENERAL\n"},
		{"PUT", "Harakiri", "", `reboot  `, nil, 0, `200 `},
		{"PUT", "Harakiri", "", `reboot  `, nil, thunder.NotSupported, "501 NOT_SUPPORTED\n"},
		{"DELETE", "Persistent/P/cache", "", `delete  {"path":"P/cache"}`, nil, 0, `200 `},
		{"DELETE", "Persistent/%2e%2e%2fetc", "", `delete  {"path":"../etc"}`, nil, thunder.PrivilegedRequest, "400 incorrect path\n"},
		{"DELETE", "Persistent/none", "", `delete  {"path":"none"}`, nil, thunder.UnknownKey, "404 UNKNOWN_KEY\n"},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			h := newHost(t, setup{})
			name, _, _ := strings.Cut(tt.asked, " ")
			asked := make(chan string, 1)
			h.methods[name] = &method{access: access.Read, form: property, serve: func(_ context.Context, r request) (any, error) {
				asked <- fmt.Sprint(name, " ", r.index, " ", string(r.raw))
				if tt.fails != 0 {
					return nil, thunder.NewError(tt.fails, nil)
				}
				return tt.result, nil
			}}
			a := h.request(t, tt.method, "/Service/Controller/"+tt.path, tt.body)
			got := fmt.Sprint(<-asked, " → ", a.status, " ", a.body)
			if diff := cmp.Diff(tt.asked+" → "+tt.want, got); diff != "" {
				t.Errorf("asked and answered (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{AllowedOrigins: []string{"https://remote.example"}}})
	for _, path := range []string{"/Service", "/Service/Controller", "/Service/Controller/Activate/P"} {
		a := h.request(t, "OPTIONS", path, "", "Origin", "https://remote.example", "Access-Control-Request-Method", "PUT")
		got := []string{
			fmt.Sprint(a.status), a.header.Get("Access-Control-Allow-Methods"), a.header.Get("Access-Control-Allow-Headers"),
			a.header.Get("Access-Control-Max-Age"), a.header.Get("Access-Control-Allow-Origin"),
		}
		want := []string{"204", "GET,POST,PUT,DELETE", "Content-Type, Authorization", "3600", "https://remote.example"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// Pages of others change nothing and learn nothing.
func TestRESTIsGuarded(t *testing.T) {
	h := newHost(t, setup{})
	for _, headers := range [][]string{
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Host", "evil.example"},
	} {
		for _, r := range [][2]string{
			{"PUT", "Activate/P"}, {"OPTIONS", "Activate/P"}, {"DELETE", "Persistent/x"}, {"GET", "Plugins"}, {"GET", "UI/"}, {"GET", "../../metrics"},
		} {
			path := strings.TrimPrefix("/Service/Controller/"+r[1], "/Service/Controller/../..")
			a := h.request(t, r[0], path, "", headers...)
			if a.status != 403 || a.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%v %v: got %d", headers, r, a.status)
			}
		}
	}
	if sh, _ := h.supervisor.Shell("P"); sh.State() != shell.Deactivated {
		t.Errorf("P is %s", sh.State())
	}
}

func unmarshal[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
