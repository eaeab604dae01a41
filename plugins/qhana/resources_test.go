package qhana

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/access"
	"dormouse/shell"
)

// optimizer is an instance with all that a profile may say.
func optimizer() Instance {
	return Instance{Callsign: "Optimizer", IsKnown: true, Class: "optimizer", Version: "0.1.0", Profile: shell.Profile{
		Title: "Optimizer", Name: "optimizer", Version: "1.2.0", Description: "Finds the best <x>", Tags: []string{"optimization"},
		Uses: []shell.Use{
			{Type: "processing", Tags: []string{"minimizer", "!slow"}, Parameter: "minimizerPluginSelector", Required: true},
			{Type: "example.objective", Tags: []string{"objective-function"}, Parameter: "objectiveFunctionPluginSelector"},
			{Type: "example.clock"},
		},
		Entry: &shell.EntryPoint{
			Kind:        shell.Processing,
			Schema:      json.RawMessage(`{"type":"object","properties":{"c":{"type":"number","default":0.5}},"required":["c"]}`),
			DataInputs:  []shell.Data{{Name: "features", DataType: "entity/vector", ContentTypes: []string{"application/json"}, Required: true}},
			DataOutputs: []shell.Data{{Name: "weights", DataType: "entity/vector", ContentTypes: []string{"application/json"}}},
		},
		Links: []shell.Link{{Type: "of-weights", Href: "weights"}, {Type: "home", Href: "https://optimizer.example/"}},
	}}
}

// problem1 is a virtual plugin of the optimizer.
func problem1() Instance {
	return Instance{Callsign: "Problem1", Parent: "Optimizer", IsKnown: true, Class: "problem", Version: "0.0.0",
		Profile: shell.Profile{Name: "problem.1", Version: "0.0.0"}}
}

func TestPluginResources(t *testing.T) {
	r := newRig(t, []Instance{problem1(), optimizer(), {Callsign: "Silent", IsKnown: true, Class: "silent", Version: "1.0.0"}, {Callsign: "Unknown"}})
	base := r.server.URL + "/qhana"

	root := r.do(t, "GET", "/qhana", "")
	if diff := cmp.Diff(map[string]any{"title": "Dormouse", "links": []any{map[string]any{"type": "plugins", "href": base + "/plugins/"}}}, root.decode(t)); root.status != 200 || diff != "" {
		t.Errorf("the seed is answered with %d (-want +got):\n%s", root.status, diff)
	}
	list := r.do(t, "GET", "/qhana/plugins/", "")
	want := map[string]any{"plugins": []any{
		map[string]any{
			"name": "optimizer", "version": "1.2.0", "identifier": "optimizer@1-2-0", "apiRoot": base + "/plugins/optimizer@1-2-0/",
			"description": "Finds the best <x>", "tags": []any{"optimization"}, "callsign": "Optimizer",
		},
		map[string]any{
			"name": "problem.1", "version": "0.0.0", "identifier": "problem-1@0-0-0", "apiRoot": base + "/plugins/problem-1@0-0-0/",
			"description": "", "tags": []any{}, "callsign": "Problem1", "parent": "optimizer@1-2-0",
		},
	}}
	if diff := cmp.Diff(want, list.decode(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	plugin := r.do(t, "GET", "/qhana/plugins/optimizer@1-2-0/", "")
	want = map[string]any{
		"title": "Optimizer", "description": "Finds the best <x>", "name": "optimizer", "version": "1.2.0", "type": "processing", "tags": []any{"optimization"},
		"entryPoint": map[string]any{
			"href": base + "/plugins/optimizer@1-2-0/process/", "uiHref": base + "/plugins/optimizer@1-2-0/ui/",
			"pluginDependencies": []any{
				map[string]any{"parameter": "minimizerPluginSelector", "required": true, "tags": []any{"minimizer", "!slow"}, "type": "processing"},
				map[string]any{"parameter": "objectiveFunctionPluginSelector", "required": false, "tags": []any{"objective-function"}},
			},
			"dataInput":  []any{map[string]any{"parameter": "features", "dataType": "entity/vector", "contentType": []any{"application/json"}, "required": true}},
			"dataOutput": []any{map[string]any{"name": "weights", "dataType": "entity/vector", "contentType": []any{"application/json"}, "required": false}},
		},
		"links": []any{
			map[string]any{"type": "of-weights", "href": base + "/web/Optimizer/weights"},
			map[string]any{"type": "home", "href": "https://optimizer.example/"},
		},
	}
	if diff := cmp.Diff(want, plugin.decode(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(plugin.body, `\u003c`) {
		t.Errorf("the resource is hard to read: %s", plugin.body)
	}
	virtual := r.do(t, "GET", "/qhana/plugins/problem-1@0-0-0/", "").decode(t)
	entry := virtual["entryPoint"].(map[string]any) //nolint:errcheck // a panic shows what is there
	if entry["href"] == "" || entry["uiHref"] == "" || virtual["type"] != "processing" {
		t.Errorf("a registry can't index a virtual plugin: %v", virtual)
	}
}

func TestAddresses(t *testing.T) {
	older, newer, snapshot := optimizer(), optimizer(), optimizer()
	older.Callsign, older.Profile.Version = "Older", "1.10.0"
	newer.Callsign, newer.Profile.Version = "Newer", "1.9.0"
	snapshot.Callsign, snapshot.Profile.Version = "Snapshot", "1.0.0-snapshot"
	r := newRig(t, []Instance{optimizer(), older, newer, snapshot})
	for _, test := range []struct {
		method, path string
		status       int
		location     string
	}{
		{"GET", "/qhana/", 200, ""},
		{"HEAD", "/qhana/plugins/", 200, ""},
		{"GET", "/qhana/plugins", 308, "/qhana/plugins/"},
		{"GET", "/qhana/plugins?item-count=5", 308, "/qhana/plugins/?item-count=5"},
		{"GET", "/qhana/plugins/optimizer/", 307, "/qhana/plugins/optimizer@1-10-0/"},
		{"GET", "/qhana/plugins/optimizer@1-0-0-dev0+snapshot/", 200, ""},
		{"GET", "/qhana/plugins/none/", 404, ""},
		{"GET", "/qhana/plugins/optimizer@9-9-9/", 404, ""},
		{"GET", "/qhana/plugins/optimizer@1-2-0/more/", 404, ""},
		{"POST", "/qhana/plugins/", 405, ""},
		{"GET", "/qhana/plugins/optimizer@1-2-0/process/", 405, ""},
		{"PUT", "/qhana/plugins/optimizer@1-2-0/process/", 405, ""},
		{"GET", "/qhana/tasks/", 404, ""},
		{"GET", "/qhana/tasks/none/", 404, ""},
		{"GET", "/qhana/tasks/../plugins/", 404, ""},
		{"GET", "/qhana/tasks/%2e%2e/plugins/", 404, ""},
		{"GET", "/qhana/web/Optimizer/x", 404, ""},
		{"GET", "/qhana/%zz", 0, ""},
	} {
		if test.status == 0 {
			continue
		}
		got := r.do(t, test.method, test.path, "")
		if location := strings.TrimPrefix(got.header.Get("Location"), r.server.URL); got.status != test.status || location != test.location {
			t.Errorf("%s %s: %d to %q; want %d to %q", test.method, test.path, got.status, location, test.status, test.location)
		}
		if got.status == 404 || got.status == 405 {
			if got.decode(t)["code"] != float64(got.status) {
				t.Errorf("%s %s: %s", test.method, test.path, got.body)
			}
		}
	}
}

// A client that reaches the host under another of its names keeps that name in redirections, and
// gets links with the public one.
func TestSpelling(t *testing.T) {
	r := newRig(t, []Instance{optimizer()})
	got := r.do(t, "GET", "/qhana/plugins", "", "Host", "tv.example:9998")
	if location := got.header.Get("Location"); location != "http://tv.example:9998/qhana/plugins/" {
		t.Errorf("redirected to %s", location)
	}
	if got := r.do(t, "GET", "/qhana/plugins/optimizer@1-2-0/", "", "Host", "tv.example:9998"); strings.Contains(got.body, "tv.example") {
		t.Errorf("a link has not the public URL: %s", got.body)
	}
}

// Instances of one program have names of their own, and one whose version can't be parsed by a
// registry is left out and told once.
func TestListing(t *testing.T) {
	second, third, bad := optimizer(), optimizer(), optimizer()
	second.Callsign, third.Callsign, bad.Callsign = "Second one", "optimizer2", "Bad"
	bad.Profile.Version = "one"
	r := newRig(t, []Instance{second, third, bad, optimizer()})
	var got []string
	for range 2 {
		got = nil
		for _, p := range r.listing() {
			got = append(got, p.identifier+" "+p.Callsign)
		}
	}
	want := []string{"Second-one@1-2-0 Second one", "optimizer@1-2-0 Optimizer", "optimizer2@1-2-0 optimizer2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := strings.Count(r.log.String(), "\n"); n != 1 || !strings.Contains(r.log.String(), `"callsign":"Bad"`) {
		t.Errorf("logged %s", r.log)
	}
}

func TestRoles(t *testing.T) {
	r := newRig(t, []Instance{optimizer()})
	for path, want := range map[string]struct {
		get, post access.Role
		about     access.Target
	}{
		"/qhana":                                  {access.Read, access.Read, access.Target{}},
		"/qhana/plugins/":                         {access.Read, access.Read, access.Target{}},
		"/qhana/plugins/optimizer@1-2-0/":         {access.Read, access.Read, access.Target{Callsign: "Optimizer"}},
		"/qhana/plugins/optimizer@1-2-0/ui/":      {access.Read, access.Read, access.Target{Callsign: "Optimizer"}},
		"/qhana/plugins/optimizer@1-2-0/process/": {access.Read, access.Call, access.Target{Callsign: "Optimizer", Method: "start"}},
		"/qhana/none":                             {access.Read, access.Read, access.Target{Method: "get"}},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			request, err := http.NewRequestWithContext(t.Context(), method, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, role, about := r.Resource(request)
			wanted := want.get
			if method == http.MethodPost {
				wanted = want.post
				if !cmp.Equal(about, want.about) {
					t.Errorf("%s %s is about %v; want %v", method, path, about, want.about)
				}
			}
			if role != wanted {
				t.Errorf("%s %s needs the role %s; want %s", method, path, role, wanted)
			}
		}
	}
	for address, want := range map[string]access.Role{
		"127.0.0.1:4242": access.Call, "[::ffff:127.0.0.1]:4242": access.Call, "192.0.2.1:4242": access.None, "": access.None,
	} {
		if got := r.RoleOf(access.Client{Address: address}); got != want {
			t.Errorf("a client from %q has the role %s; want %s", address, got, want)
		}
	}
}
