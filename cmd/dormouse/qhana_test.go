package main

import (
	"net/http"
	"strings"
	"testing"
)

// A listener for QHAna alone may be reached from other machines without TLS, which the host warns
// of. Those from the networks in [qhana] reach its resources without a token, and nothing else.
func TestListenerForQHAna(t *testing.T) {
	for from, status := range map[string]int{farAway + "/32": http.StatusOK, "198.51.100.0/24": http.StatusUnauthorized} {
		t.Run(from, func(t *testing.T) {
			far, root := newFarNetwork(t), t.TempDir()
			cmd := hostCommand(t, root, "[host]\npublic-url = \"http://"+farAway+":9999\"\n[qhana]\nfrom = [\""+from+"\"]\n"+
				"[[listener]]\naddress = \""+farAway+":9999\"\nonly = \"qhana\"\n")
			far.do(func() {
				h := startCommand(t, root, cmd)
				h.wait(t, "other machines reach this listener, which serves only QHAna's resources: those in from have that role without a token")
				h.wait(t, "ready")
			})
			client := far.client(t, nil)
			for path, want := range map[string]int{
				"/qhana": status, "/qhana/plugins/": status, "/metrics": http.StatusNotFound, "/jsonrpc": http.StatusNotFound,
				"/Service/Controller/Plugins": http.StatusNotFound, "/healthz": http.StatusNotFound,
			} {
				response, err := client.Get("http://" + farAway + ":9999" + path)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				if response.StatusCode != want {
					t.Errorf("GET %s answers %s, not %d", path, response.Status, want)
				}
			}
		})
	}
}

// A host whose listener for QHAna has nothing to serve does not start, and says what to set.
func TestListenerForNothing(t *testing.T) {
	out, err := hostCommand(t, t.TempDir(), "[[listener]]\naddress = \"127.0.0.1:0\"\nonly = \"qhana\"\n").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `set "public-url" in [host]`) {
		t.Errorf("%v\n%s", err, out)
	}
}
