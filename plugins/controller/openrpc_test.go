package controller

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The document lists every method that the host serves, under each of its names.
func TestDiscover(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	names := func(callsign string) []string {
		var names []string
		for _, m := range decode[openRPC](t, c.do(callsign+".1.rpc.discover", "")).Methods {
			names = append(names, m.Name)
		}
		return names
	}
	own := names("Controller")
	for _, table := range []map[string]*method{h.methods, h.common} {
		for name, m := range table {
			if listed := slices.Contains(own, "Controller.1."+name); listed != (m.offeredFor == nil) {
				t.Errorf("%s is listed: %v", name, listed)
			}
		}
	}
	want := []string{"Plain.1.register", "Plain.1.unregister", "Plain.1.exists", "Plain.1.versions", "Plain.1.rpc.discover"}
	if diff := cmp.Diff(want, names("Plain")); diff != "" {
		t.Errorf("of a plugin (-want +got):\n%s", diff)
	}
	want = []string{"Auto.1.register", "Auto.1.unregister", "Auto.1.exists", "Auto.1.versions", "Auto.1.rpc.discover", "Auto.1.statecontrol::state", "Auto.1.statecontrol::request", "Auto.1.state"}
	if diff := cmp.Diff(want, names("Auto")); diff != "" {
		t.Errorf("of a plugin with state control (-want +got):\n%s", diff)
	}
	if short := h.dial(t, "/jsonrpc/Plain").do("rpc.discover", ""); short != c.do("Plain.1.rpc.discover", "") {
		t.Errorf("the path is enough, but got %s", short)
	}
}

// A method is described in the dialect of the client.
func TestDiscoverDiffersByDialect(t *testing.T) {
	h := newHost(t, setup{})
	find := func(query, name string) openRPCMethod {
		document := decode[openRPC](t, h.dial(t, "/jsonrpc"+query).do("Controller.1.rpc.discover", ""))
		i := slices.IndexFunc(document.Methods, func(m openRPCMethod) bool { return m.Name == name })
		if i < 0 {
			t.Fatalf("%s is not listed", name)
		}
		return document.Methods[i]
	}
	r4, r5 := find("", "Controller.1.activate"), find("?dialect=r5", "Controller.1.activate")
	if r4.Errors[0] != (openRPCError{22, "ERROR_UNKNOWN_KEY"}) || r5.Errors[0] != (openRPCError{-31022, "ERROR_UNKNOWN_KEY"}) {
		t.Errorf("got %+v and %+v", r4.Errors[0], r5.Errors[0])
	}
	if diff := cmp.Diff(openRPCValue{"callsign", "the instance", true, schema{"type": "string"}}, r4.Params[0]); diff != "" {
		t.Errorf("params (-want +got):\n%s", diff)
	}
	for query, want := range map[string]string{"": "integer", "?dialect=r5": "null"} {
		if got := find(query, "Controller.1.register").Result.Schema["type"]; got != want {
			t.Errorf("register returns %v, want %v", got, want)
		}
	}
	members := func(m openRPCMethod) map[string]any {
		return m.Result.Schema["items"].(map[string]any)["properties"].(map[string]any) //nolint:errcheck // a panic fails the test as well
	}
	if _, ok := members(find("", "Controller.1.services"))["autostart"]; !ok {
		t.Error("an R4 record has no autostart")
	}
	if _, ok := members(find("?dialect=r5", "Controller.1.services"))["autostart"]; ok {
		t.Error("an R5 record has autostart")
	}
}

// The answers of the host fit the schemas.
func TestResultsMatchTheirSchemas(t *testing.T) {
	for _, query := range []string{"?dialect=r4", "?dialect=r5"} {
		h := newHost(t, setup{options: Options{
			Proxies:      func() []Proxy { return []Proxy{{Interface: "Shell"}} },
			CanHibernate: func() bool { return true },
		}})
		c := h.dial(t, "/jsonrpc"+query)
		for _, m := range decode[openRPC](t, c.do("Controller.1.rpc.discover", "")).Methods {
			name := m.Name[len("Controller.1."):]
			row, own := h.methods[name]
			if !own || row.form != property || name == "environment" || name == "callstack" {
				continue // needs an index
			}
			if name == "explain" {
				m.Name += "@P"
			}
			checkSchema(t, name, m.Result.Schema, decode[any](t, c.do(m.Name, "")))
		}
	}
}

func checkSchema(t *testing.T, where string, want map[string]any, got any) {
	t.Helper()
	kind := map[reflect.Kind]string{
		reflect.Slice: "array", reflect.Map: "object", reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "integer",
	}[reflect.ValueOf(got).Kind()]
	if want["type"] != nil && want["type"] != kind {
		t.Errorf("%s is of type %q, want %v", where, kind, want["type"])
		return
	}
	switch got := got.(type) {
	case []any:
		items, _ := want["items"].(map[string]any)
		for _, element := range got {
			checkSchema(t, where+"[]", items, element)
		}
	case map[string]any:
		properties, described := want["properties"].(map[string]any)
		for name, value := range got {
			property, ok := properties[name].(map[string]any)
			if described && !ok {
				t.Errorf("%s.%s is not described", where, name)
			}
			checkSchema(t, where+"."+name, property, value)
		}
		required, _ := want["required"].([]any)
		for _, name := range required {
			if _, ok := got[name.(string)]; !ok { //nolint:errcheck // a panic fails the test as well
				t.Errorf("%s lacks %v", where, name)
			}
		}
	}
}

func TestEveryRowIsDocumented(t *testing.T) {
	for _, m := range append(controllerMethods(), commonMethods()...) {
		if m.name == "" || m.doc == "" || m.returns == "" || m.serve == nil {
			t.Errorf("%q has no name, no documentation or does nothing", m.name)
		}
		if m.access == 0 || (m.form == variable) != (m.writeAccess != 0) {
			t.Errorf("%s: the access that a caller needs is missing", m.name)
		}
		for _, p := range m.params {
			if p.doc == "" || !p.optional && m.missingParam == 0 {
				t.Errorf("%s: parameter %q has no documentation, or no error for when it is missing", m.name, p.name)
			}
		}
		for _, n := range m.errors {
			if n.Name() == "" {
				t.Errorf("%s: there is no error %d", m.name, n)
			}
		}
	}
}
