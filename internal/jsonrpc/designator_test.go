package jsonrpc

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDesignator(t *testing.T) {
	for _, tt := range []struct {
		method string
		want   Designator
	}{
		{"status", Designator{"", 1, "status", ""}},
		{"Controller.status", Designator{"Controller", 1, "status", ""}},
		{"Controller.2.status@X", Designator{"Controller", 2, "status", "X"}},
		{"Controller.254.status", Designator{"Controller", 254, "status", ""}},
		{"Controller.255.status", Designator{"Controller", 1, "status", ""}},
		{"Controller.99999999999999999999.status", Designator{"Controller", 1, "status", ""}},
		{"Controller.0.status", Designator{"Controller", 0, "status", ""}},
		{"Controller.1a.status", Designator{"Controller.1a", 1, "status", ""}},
		{"2.status", Designator{"", 2, "status", ""}},
		{"org.rdk.X.1.get", Designator{"org.rdk.X", 1, "get", ""}},
		{"org.rdk.X.get@org.rdk.Y@2", Designator{"org.rdk.X", 1, "get", "org.rdk.Y@2"}},
		{"status@", Designator{"", 1, "status", ""}},
		{"X.1.control::state", Designator{"X", 1, "control::state", ""}},
		{"X.1.viewport#2::move@3", Designator{"X", 1, "viewport#2::move", "3"}},
		{"X.control::a.b", Designator{"X", 1, "control::a.b", ""}},
		{"rpc.discover", Designator{"", 1, "rpc.discover", ""}},
		{"org.rdk.X.1.rpc.discover@a", Designator{"org.rdk.X", 1, "rpc.discover", "a"}},
		{"X.myrpc.discover", Designator{"X.myrpc", 1, "discover", ""}},
		{"Bridge/Remote.1.get", Designator{"Bridge/Remote", 1, "get", ""}},
	} {
		got, err := ParseDesignator(tt.method)
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("ParseDesignator(%q): %v (-want +got):\n%s", tt.method, err, diff)
		}
	}
	for _, method := range []string{"", "@", "@x", "X.", ".x", "..x", "X..x", ".1.x", "X..1.x", "X.::x", "::x", "X.p::", "X.#1::x"} {
		if got, err := ParseDesignator(method); !errors.Is(err, ErrDesignator) {
			t.Errorf("ParseDesignator(%q) = %+v, %v", method, got, err)
		}
	}
}

func TestCutVersion(t *testing.T) {
	for _, tt := range []struct {
		callsign, rest string
		version        int
		found          bool
	}{
		{"Controller.1", "Controller", 1, true},
		{"org.rdk.X.254", "org.rdk.X", 254, true},
		{"X.255", "X", 1, true},
		{"X.1.2", "X.1", 2, true},
		{"X", "X", 1, false},
		{"X.1a", "X.1a", 1, false},
		{"X.", "X.", 1, false},
		{"", "", 1, false},
		{"7", "", 7, true},
	} {
		rest, version, found := CutVersion(tt.callsign)
		if rest != tt.rest || version != tt.version || found != tt.found {
			t.Errorf("CutVersion(%q) = %q, %d, %t", tt.callsign, rest, version, found)
		}
	}
}

func FuzzDesignator(f *testing.F) {
	for _, seed := range []string{"Controller.1.status@X", "org.rdk.X.get", "X.1.viewport#2::move@3", "2.x", "..", "a.b@c.d", "X..1.x", "X.300.1.y", "X.1.rpc.discover", "..rpc.discover"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, method string) {
		d, err := ParseDesignator(method)
		if err != nil {
			if !errors.Is(err, ErrDesignator) || d != (Designator{}) {
				t.Fatalf("got %+v with %v", d, err)
			}
			return
		}
		switch {
		case d.Method == "" || strings.Contains(d.Method, "@"):
			t.Fatalf("method %q", d.Method)
		case d.Version < 0 || d.Version > 254:
			t.Fatalf("version %d", d.Version)
		case strings.Contains(d.Callsign, "@"), strings.HasPrefix(d.Callsign, "."), strings.HasSuffix(d.Callsign, "."):
			t.Fatalf("callsign %q", d.Callsign)
		case !strings.HasPrefix(method, d.Callsign), !strings.HasSuffix(method, d.Index):
			t.Fatalf("got %+v", d)
		}
	})
}
