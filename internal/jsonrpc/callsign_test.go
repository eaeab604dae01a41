package jsonrpc

import "testing"

func TestCheckCallsign(t *testing.T) {
	for _, good := range []string{
		"X", "org.rdk.X", "X.1a", "X-1", "X1", "X.1.Y", "rpcs", "rpcs.X", "myrpc", "X.myrpc", "X.rpc.Y", "discover", "X.discover",
	} {
		if err := CheckCallsign(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	const begins = `JSON-RPC reserves names that begin with "rpc."`
	for _, tt := range []struct{ bad, why, instead string }{
		{"X.1", `a call of "X.1.method" means "method" of "X" in version 1`, "X-1"},
		{"X.0", `a call of "X.0.method" means "method" of "X" in version 0`, "X-0"},
		{"X.300", `a call of "X.300.method" means "method" of "X" in version 1`, "X-300"},
		{"org.rdk.X.2", `a call of "org.rdk.X.2.method" means "method" of "org.rdk.X" in version 2`, "org.rdk.X-2"},
		{"X.1.2", `a call of "X.1.2.method" means "method" of "X.1" in version 2`, "X.1-2"},
		{"rpc.1", `a call of "rpc.1.method" means "method" of "rpc" in version 1`, "rpc-1"},
		{"rpc", `a call of "rpc.discover" means the whole host`, "rpc-1"},
		{"RPC", `a call of "rpc.discover" means the whole host`, "RPC-1"},
		{"X.rpc", `a call of "X.rpc.discover" means "rpc.discover" of "X" in version 1`, "X-rpc"},
		{"X.Rpc", `a call of "x.rpc.discover" means "rpc.discover" of "x" in version 1`, "X-Rpc"},
		{"X.1.rpc", `a call of "X.1.rpc.discover" means "rpc.discover" of "X" in version 1`, "X.1-rpc"},
		{"rpc.rpc", `a call of "rpc.rpc.discover" means "rpc.discover" of "rpc" in version 1`, "rpc-rpc"},
		{"rpc.X", begins, "rpc-X"},
		{"Rpc.discover", begins, "Rpc-discover"},
		{"rpc.X.Y", begins, "rpc-X-Y"},
		{"rpc.X.1", `a call of "rpc.X.1.method" means "method" of "rpc.X" in version 1`, "rpc-X-1"},
	} {
		want := tt.why + `; call it "` + tt.instead + `", for example`
		if err := CheckCallsign(tt.bad); err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", tt.bad, err, want)
		}
		if err := CheckCallsign(tt.instead); err != nil {
			t.Errorf("instead of %s: %v", tt.bad, err)
		}
	}
	for _, bad := range []string{"", ".", ".X", "X.", "X..Y.1", "X@1", "X::y"} {
		if err := CheckCallsign(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// A callsign that is accepted is what each call to it is read as.
func FuzzCheckCallsign(f *testing.F) {
	for _, seed := range []string{"Controller", "org.rdk.X", "X.1", "rpc", "X.RPC", "rpc.X", "X.1.rpc.2", "a::b", "@"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, callsign string) {
		if CheckCallsign(callsign) != nil {
			return
		}
		for _, call := range []string{"status", "1.status", "discover", "rpc.discover", "1.rpc.discover", "a::b", "1.a#2::b@X"} {
			if d, err := ParseDesignator(callsign + "." + call); err != nil || d.Callsign != callsign || d.Version != DefaultVersion {
				t.Errorf("%q of %q is read as %+v, %v", call, callsign, d, err)
			}
		}
	})
}
