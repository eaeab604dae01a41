package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

// typesHost answers like a host with the instance User, which uses the types one and many, and
// with two that provide many.
func typesHost(t *testing.T, program string) (address string) {
	t.Helper()
	profiles := map[string]string{
		"User":   `{"uses":[{"type":"one","required":true},{"type":"many","parameter":"helper"}]}`,
		"First":  `{"provides":[{"name":"many"}]}`,
		"Second": `{"provides":[{"name":"many"}]}`,
		"Gone":   `{"provides":[{"name":"one"}]}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Method string
			Params struct{ Callsign string }
		}
		_ = json.NewDecoder(r.Body).Decode(&request)
		result := "null"
		switch method, index, _ := strings.Cut(request.Method, "@"); method {
		case "Controller.status":
			var records []string
			for callsign := range profiles {
				if index == "" || index == callsign {
					records = append(records, fmt.Sprintf(`{"callsign":%q,"state":"Activated","locator":%q}`, callsign, program))
				}
			}
			result = "[" + strings.Join(records, ",") + "]"
		case "Controller.open":
			result = `{"profile":` + profiles[request.Params.Callsign] + `}`
		case "Controller.unmet":
			result = fmt.Sprintf(`[{"text":"%s uses one, which no instance provides"}]`, index)
		}
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%s}`, result)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestShowTellsOfUnmetUses(t *testing.T) {
	dormouse(t, nil, "plugin", "show", "User", "--host", typesHost(t, "p")).expect(t, 0, "User uses one, which no instance provides")
}

// TestConfigCheckTellsOfUnmetUses checks configurations against what the running host knows of
// their plugins: the instance Gone is in none of them.
func TestConfigCheckTellsOfUnmetUses(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "bin/p")
	writeFiles(t, dir, map[string]string{"bin/p": ""})
	check := func(configuration string, callsigns ...string) result {
		text := ""
		for _, callsign := range callsigns {
			text += fmt.Sprintf("[[plugin]]\ncallsign = %q\nexecutable = %q\n", callsign, program)
			if callsign == "User" {
				text += configuration
			}
		}
		writeFiles(t, dir, map[string]string{"c.toml": text})
		return dormouse(t, nil, "config", "check", "--config", filepath.Join(dir, "c.toml"), "--host", typesHost(t, program))
	}
	check("", "User", "First", "Second").expect(t, exitFailed, "User uses one, which no instance provides")
	check("", "User", "First", "Second", "Gone").expect(t, 0, "User uses many, which is ambiguous: First, Second provide it", "nothing wrong")
	check("configuration.helper = \"First\"\n", "User", "First", "Second", "Gone").expect(t, 0, "nothing wrong")
	check("configuration.helper = \"Gone\"\n", "User", "First", "Second", "Gone").expect(t, 0, "which Gone does not provide, only First, Second")
}
