package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/shell"
)

// neededRoles is the role that each method needs, as the operator reads it in the manual. A
// name with "=" is that of a variable that is written.
var neededRoles = map[string]access.Role{
	"activate": access.Operate, "deactivate": access.Operate, "restart": access.Operate, "unavailable": access.Operate,
	"suspend": access.Operate, "resume": access.Operate, "hibernate": access.Operate,
	"clone": access.Admin, "destroy": access.Admin, "persist": access.Admin, "storeconfig": access.Admin,
	"restore": access.Admin, "reload": access.Admin, "delete": access.Admin, "reboot": access.Admin, "harakiri": access.Admin,
	"configuration": access.Read, "configuration=": access.Admin,
	"services": access.Read, "status": access.Read, "subsystems": access.Read, "framework": access.Read, "version": access.Read,
	"buildinfo": access.Read, "environment": access.Read, "links": access.Read, "proxies": access.Read, "explain": access.Read, "find": access.Read, "open": access.Read, "unmet": access.Read, "missing": access.Read, "store": access.Read,
	"losses": access.Read, "acknowledge": access.Operate, "restoreimage": access.Operate, "keepawake": access.Operate,
	"threads": access.Read, "pendingrequests": access.Read, "processinfo": access.Read, "callstack": access.Read,
	"startdiscovery": access.Operate, "discoveryresults": access.Read,
	"exists": access.Read, "versions": access.Read, "rpc.discover": access.Read,
	"register": access.Read, "unregister": access.Read, // for events of the Controller
	"Plain.register": access.Call, "Plain.unregister": access.Call, "Inside.register": access.Read, "Inside.unregister": access.Read,
	"Auto.statecontrol::state": access.Read, "Auto.statecontrol::request": access.Operate,
	"Auto.state": access.Read, "Auto.state=": access.Operate,
	"Plain.exists": access.Read, "Plain.versions": access.Read, "Plain.rpc.discover": access.Read,
	"Plain.echo": access.Call, "Plain.nosuchmethod": access.Call, "Inside.echo": access.Operate, "Inside.unlisted": access.None,
}

// paramsOf returns parameters with which a method gets as far as its check, and does no harm.
func paramsOf(method string) string {
	switch name := method[strings.LastIndex(method, ".")+1:]; name {
	case "clone":
		return `{"callsign":"Nothing","newcallsign":"Neither"}`
	case "delete":
		return `{"path":"Nothing/file"}`
	case "register", "unregister":
		return `{"event":"statechange","id":"x"}`
	case "exists":
		return `{"method":"echo"}`
	case "persist", "restore", "storeconfig", "configuration", "state":
		return ``
	case "statecontrol::request":
		return `{"command":"neither"}`
	case "configuration=":
		return `{}`
	}
	return `{"callsign":"Nothing"}`
}

// messageFor returns a request of a method of neededRoles.
func messageFor(method string) string {
	name := strings.TrimSuffix(method, "=")
	if !strings.Contains(name, ".") || name == "rpc.discover" {
		name = "Controller.1." + name
	}
	params := paramsOf(method)
	switch method {
	case "configuration":
		return call(name+"@Nothing", "")
	case "configuration=":
		name += "@Nothing"
	}
	return call(name, params)
}

// withRole returns a user that has that role, by a row of the configuration.
func withRole(role access.Role) access.Client {
	if role == access.None {
		return access.Client{Address: "192.0.2.1:4242"}
	}
	return access.Client{User: &access.User{UID: 60000 + int(role)}, Address: "127.0.0.1:4242", Loopback: true}
}

// roleRows give the users of withRole their roles.
func roleRows() []configs.Access {
	var rows []configs.Access
	for role := access.Read; role <= access.Admin; role++ {
		rows = append(rows, configs.Access{User: fmt.Sprint(60000 + int(role)), Role: configs.Role(role.String())})
	}
	return rows
}

// newGuardedHost returns a host on which the users of withRole have their roles.
func newGuardedHost(t *testing.T, s setup, rows ...configs.Access) *host {
	t.Helper()
	s.options.Access = access.NewGuard(access.Rules{Rows: append(roleRows(), rows...)})
	s.options.Reboot = func(context.Context) error { return nil }
	s.options.BuiltinAccess = func(sh *shell.Shell, c shell.Call) (access.Role, access.Target) {
		t := access.Target{Callsign: sh.Callsign(), Method: c.Method}
		if c.Method == "unlisted" {
			return access.None, t
		}
		return access.Operate, t
	}
	return newHost(t, s)
}

// ask calls a method as that client and returns the answer.
func (h *host) ask(t *testing.T, client access.Client, method, params string) reply {
	t.Helper()
	return h.answerMessage(t.Context(), caller{client: client}, []byte(call(method, params)))
}

// serveAs serves an HTTP request as that client's.
func (h *host) serveAs(client access.Client, r *http.Request) *httptest.ResponseRecorder {
	one := &connection{client: client, firstRequest: func() {}}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), connectionKey{}, one)))
	return answer
}

func isRefused(r reply) bool { return r.outcome == refused || r.outcome == unauthenticated }

// Every method is refused to every role below the one that it needs, and to no other.
func TestEveryMethodAndRole(t *testing.T) {
	h := newGuardedHost(t, setup{})
	for method, needed := range neededRoles {
		for role := access.None; role <= access.Admin; role++ {
			got := h.answerMessage(t.Context(), caller{client: withRole(role)}, []byte(messageFor(method)))
			wantRefused := role < needed || needed == access.None
			if isRefused(got) != wantRefused {
				t.Errorf("%s, called with the role %s: %s", method, role, got.body)
			}
			if wantRefused && !strings.Contains(string(got.body), `"code":-32604,"message":"method invocation not allowed."`) {
				t.Errorf("%s, called with the role %s, is refused with %s", method, role, got.body)
			}
			if wantRefused && role > access.None && needed > access.None {
				if cause := fmt.Sprintf("needs the role %s, user %d from 127.0.0.1:4242 has %s; the operator grants it by [[access]] with user = ", needed, 60000+int(role), role); !strings.Contains(string(got.body), cause) {
					t.Errorf("%s, called with the role %s, is refused with %s", method, role, got.body)
				}
			}
		}
	}
	for name := range hostMethods() {
		_, listed := neededRoles[name]
		if _, ofPlugins := neededRoles["Auto."+name]; !listed && !ofPlugins {
			t.Errorf("this test does not say which role %s needs", name)
		}
	}
}

// A row for some instances gives the role for those alone, wherever a request names them.
func TestRoleForSomeInstances(t *testing.T) {
	one := access.Client{User: &access.User{UID: 61000}}
	h := newGuardedHost(t, setup{}, configs.Access{User: "61000", Role: configs.RoleAdmin, Callsigns: []string{"Pl*"}})
	for _, test := range []struct {
		method, params string
		refused        bool
	}{
		{"Controller.1.suspend", `{"callsign":"Plain"}`, false},
		{"Controller.1.suspend", `{"callsign":"Auto"}`, true},
		{"Controller.1.suspend", ``, true},
		{"Controller.1.clone", `{"callsign":"Plain","newcallsign":"Plain2"}`, false},
		{"Controller.1.clone", `{"callsign":"Plain","newcallsign":"Other"}`, true},
		{"Controller.1.clone", `{"callsign":"Auto","newcallsign":"Plain3"}`, true},
		{"Controller.1.configuration@Plain", `{}`, false},
		{"Controller.1.configuration@Auto", `{}`, true},
		{"Controller.1.persist", `{"callsign":"Plain"}`, false},
		{"Controller.1.persist", `{"callsign":""}`, true},
		{"Controller.1.persist", ``, true},
		{"Controller.1.delete", `{"path":"Plain/x"}`, false},
		{"Controller.1.delete", `{"path":"./Plain//x"}`, false},
		{"Controller.1.delete", `{"path":"Auto/x"}`, true},
		{"Controller.1.delete", `{"path":"x"}`, true},
		{"Controller.1.reload", ``, true},
		{"Plain.1.echo", `1`, false},
		{"Auto.1.echo", `1`, true},
		{"Auto.1.statecontrol::request", `{"command":"Resume"}`, true},
	} {
		if got := h.ask(t, one, test.method, test.params); isRefused(got) != test.refused {
			t.Errorf("%s %s: %s", test.method, test.params, got.body)
		}
	}
}

// A row for a method counts whichever of the method's names it has, and the call.
func TestRoleForAliases(t *testing.T) {
	one := access.Client{Token: access.DigestOf("one")}
	h := newGuardedHost(t, setup{}, configs.Access{Token: "one", Role: configs.RoleAdmin, Methods: []string{"status", "persist"}})
	h.options.Access.SetTokens([]access.Token{{Name: "one", Digest: one.Token}})
	for method, refused := range map[string]bool{
		"Controller.1.status": false, "Controller.1.services@Plain": false, "Controller.1.storeconfig": false, "Controller.1.persist": false, "Controller.1.version": true,
	} {
		if got := h.ask(t, one, method, ``); isRefused(got) != refused {
			t.Errorf("%s: %s", method, got.body)
		}
	}
}

// A client without a role can't find out which instances there are.
func TestStrangersCannotProbe(t *testing.T) {
	h := newGuardedHost(t, setup{})
	for _, method := range []string{"%s.1.echo", "%s.1.register", "%s.1.exists", "%s.7.echo", "Controller.1.activate", "Controller.1.configuration@%s", "Controller.1.explain@%s"} {
		answer := func(callsign string) string {
			name := method
			if strings.Contains(method, "%s") {
				name = fmt.Sprintf(method, callsign)
			}
			return strings.ReplaceAll(string(h.ask(t, withRole(access.None), name, `{"callsign":"`+callsign+`"}`).body), callsign, "X")
		}
		if known, unknown := answer("Plain"), answer("Nothing"); known != unknown || !strings.Contains(known, "the host does not know who calls") {
			t.Errorf("%s: an instance that exists is answered %s, another %s", method, known, unknown)
		}
	}
}

// readerAndOperatorSee calls a method as a reader and as an operator, and returns the results.
func readerAndOperatorSee(t *testing.T, h *host, method string) (reader, operator string) {
	t.Helper()
	see := func(role access.Role) string {
		return string(decode[json.RawMessage](t, string(h.ask(t, withRole(role), method, "").body)))
	}
	return see(access.Read), see(access.Operate)
}

// Readers see no configuration, environment, paths, addresses or texts of failures, in
// either dialect; operators see all of it.
func TestReadersSeeNoDetails(t *testing.T) {
	const secret = "hunter2"
	t.Setenv("DORMOUSE_TEST_SECRET", secret)
	for _, d := range []configs.Dialect{configs.DialectR4, configs.DialectR5} {
		h := newGuardedHost(t, setup{
			host: configs.Host{Dialect: d, Communicator: "/run/" + secret, Environment: []string{"DORMOUSE_TEST_SECRET"}},
			options: Options{
				Proxies: func() []Proxy { return []Proxy{{Interface: "I", Name: "P", Client: secret, Link: "communicator"}} },
			},
			plugins: func(p *configs.Plugin) {
				p.Executable, p.WebUI = "/opt/"+secret+"/"+p.Callsign+"d", "/srv/"+secret
				p.Configuration = map[string]any{"password": secret}
			},
		})
		h.plugins["Bad"].Fail("initialize", fmt.Errorf("cannot open /etc/%s", secret))
		if got := h.ask(t, withRole(access.Admin), "Controller.1.activate", `{"callsign":"Bad"}`); !strings.Contains(string(got.body), secret) {
			t.Fatalf("Bad was activated: %s", got.body)
		}
		for method, readerWants := range map[string]string{
			"Controller.1.status": "", "Controller.1.status@Bad": "", "Controller.1.services@Plain": "", "Controller.1.explain@Bad": "",
			"Controller.1.configuration@Plain": `{}`, "Controller.1.environment@DORMOUSE_TEST_SECRET": `""`, "Controller.1.proxies": "",
		} {
			reader, operator := readerAndOperatorSee(t, h, method)
			if strings.Contains(reader, secret) || readerWants != "" && reader != readerWants {
				t.Errorf("%s: a reader is shown %s", method, reader)
			}
			if !strings.Contains(operator, secret) && method != "Controller.1.explain@Bad" {
				t.Errorf("%s: an operator is shown %s", method, operator)
			}
		}
		for _, path := range []string{"", "/Plugins", "/Plugin/Plain", "/Configuration/Plain", "/Environment/DORMOUSE_TEST_SECRET", "/Process", "/Links"} {
			answer := h.serveAs(withRole(access.Read), requestFor(t, http.MethodGet, "/Service/Controller"+path, ""))
			if answer.Code != http.StatusOK || strings.Contains(answer.Body.String(), secret) {
				t.Errorf("GET %s shows a reader %d %s", path, answer.Code, answer.Body)
			}
		}
	}
}

// A refusal has the HTTP status that tells a client whether to show credentials.
func TestRefusalOverHTTP(t *testing.T) {
	h := newGuardedHost(t, setup{})
	activate := call("Controller.1.activate", `{"callsign":"P"}`)
	for _, test := range []struct{ method, path, body string }{
		{http.MethodPost, "/jsonrpc", activate},
		{http.MethodPost, "/jsonrpc?dialect=r5", activate},
		{http.MethodPut, "/Service/Controller/Activate/P", ""},
		{http.MethodPut, "/Service/Controller/Configuration/P", "{}"},
		{http.MethodPut, "/Service/Controller/Persist", ""},
		{http.MethodPut, "/Service/Controller/Harakiri", ""},
		{http.MethodDelete, "/Service/Controller/Persistent/P/file", ""},
	} {
		for role, want := range map[access.Role]int{access.None: http.StatusUnauthorized, access.Read: http.StatusForbidden} {
			answer := h.serveAs(withRole(role), requestFor(t, test.method, test.path, test.body))
			if strings.Contains(test.path, "r5") && !strings.Contains(answer.Body.String(), `"code":-32604,"message":"Method invocation not allowed."`) {
				t.Errorf("R5 is answered %s", answer.Body)
			}
			if answer.Code != want || !strings.Contains(answer.Body.String(), "needs the role ") {
				t.Errorf("%s %s with the role %s is answered %d %s", test.method, test.path, role, answer.Code, answer.Body)
			}
			if challenge := answer.Header().Get("WWW-Authenticate"); (challenge != "") != (want == http.StatusUnauthorized) {
				t.Errorf("%s %s with the role %s is answered with WWW-Authenticate: %s", test.method, test.path, role, challenge)
			}
		}
	}
	for body, readers := range map[string]int{"[" + activate + "," + activate + "]": http.StatusOK, "{": http.StatusBadRequest} {
		for role, want := range map[access.Role]int{access.None: http.StatusUnauthorized, access.Read: readers} {
			if answer := h.serveAs(withRole(role), requestFor(t, http.MethodPost, "/jsonrpc", body)); answer.Code != want {
				t.Errorf("%s with the role %s is answered %d %s", body, role, answer.Code, answer.Body)
			}
		}
	}
	for path, readers := range map[string]int{
		"/": http.StatusMovedPermanently, "/metrics": http.StatusOK, "/Service/Controller/UI/": http.StatusOK,
		"/Service/Plain/UI/": http.StatusNotFound, "/Service/Nothing/UI/": http.StatusNotFound,
		"/Service/Plain": http.StatusServiceUnavailable, "/Service/Nothing": http.StatusNotFound,
		"/jsonrpc/Plain": http.StatusMethodNotAllowed, "/jsonrpc/Nothing": http.StatusNotFound,
	} {
		if answer := h.serveAs(withRole(access.Read), requestFor(t, http.MethodGet, path, "")); answer.Code != readers {
			t.Errorf("GET %s by a reader is answered %d %s", path, answer.Code, answer.Body)
		}
		if answer := h.serveAs(withRole(access.None), requestFor(t, http.MethodGet, path, "")); answer.Code != http.StatusUnauthorized {
			t.Errorf("GET %s by a stranger is answered %d %s", path, answer.Code, answer.Body)
		}
	}
	if answer := h.serveAs(withRole(access.None), requestFor(t, http.MethodGet, "/healthz", "")); answer.Code != http.StatusOK {
		t.Errorf("a stranger can't see whether the host lives: %d %s", answer.Code, answer.Body)
	}
}

// requestFor returns a request to the host.
func requestFor(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Host = "localhost"
	return r
}

// Each call that changes something leaves one line with client, address, method, instance
// and result; no line holds parameters.
func TestAuditOfCalls(t *testing.T) {
	h := newGuardedHost(t, setup{})
	audit := func() (lines []string) {
		logged, _ := h.log.read()
		for line := range strings.Lines(logged) {
			if strings.Contains(line, `"audit":"json-rpc"`) {
				lines = append(lines, line)
			}
		}
		return lines
	}
	seen := 0
	for _, test := range []struct {
		role           access.Role
		method, params string
		want           string // "" for no line
	}{
		{access.Admin, "Controller.1.configuration@P", `{"password":"hunter2"}`, `"method":"configuration","instance":"P","result":"done"`},
		{access.Operate, "Controller.1.configuration@P", `{"password":"hunter2"}`, `"method":"configuration","instance":"P","result":"refused","needed":"admin","has":"operate"`},
		{access.Admin, "Controller.1.clone", `{"callsign":"P","newcallsign":"Q"}`, `"method":"clone","instance":"P, Q","result":"done"`},
		{access.Operate, "Controller.1.activate", `{"callsign":"Bad"}`, `"method":"activate","instance":"Bad","result":"OPENING_FAILED"`},
		{access.Operate, "Controller.1.activate", `{"callsign":"P"}`, `"client":"user 60003 (60003)","from":"127.0.0.1:4242","method":"activate","instance":"P","result":"done"`},
		{access.Operate, "P.1.statecontrol::request", `{"command":"Resume"}`, `"method":"statecontrol::request","instance":"P","result":"done"`},
		{access.Operate, "Inside.1.echo", `{"password":"hunter2"}`, `"method":"echo","instance":"Inside","result":"done"`},
		{access.None, "Controller.1.activate", `{"callsign":"P"}`, `"client":"a stranger","from":"192.0.2.1:4242","method":"activate","instance":"P","result":"refused"`},
		{access.Admin, "Controller.1.status", ``, ""},
		{access.Admin, "Controller.1.configuration@P", ``, ""},
		{access.Call, "Plain.1.echo", `{"password":"hunter2"}`, ""},
	} {
		h.ask(t, withRole(test.role), test.method, test.params)
		lines := audit()
		got := strings.Join(lines[seen:], "")
		if seen = len(lines); !strings.Contains(got, test.want) || strings.Count(got, "\n") != min(1, len(test.want)) || strings.Contains(got, "hunter2") {
			t.Errorf("%s by a client with the role %s leaves\n%s", test.method, test.role, got)
		}
	}
	if answer := h.serveAs(withRole(access.Operate), requestFor(t, http.MethodPut, "/Service/Controller/Suspend/P", "")); answer.Code != http.StatusOK {
		t.Errorf("REST: %d %s", answer.Code, answer.Body)
	}
	if got := audit()[seen:]; len(got) != 1 || !strings.Contains(got[0], `"method":"suspend","instance":"P","result":"done"`) {
		t.Errorf("REST leaves %s", got)
	}
}

// Every refusal of a web page's request is logged; of many in a second only some are, with
// the number of the others.
func TestRejectedPagesAreLogged(t *testing.T) {
	h := newGuardedHost(t, setup{})
	rejected := func(key, value string) {
		r := requestFor(t, http.MethodPost, "/jsonrpc", "{}")
		if r.Header.Set(key, value); key == "Host" {
			r.Host = value
		}
		if answer := h.serveAs(withRole(access.Admin), r); answer.Code < 400 {
			t.Errorf("%s: %s is answered %d", key, value, answer.Code)
		}
	}
	rejected("Origin", "https://evil.example")
	rejected("Host", "evil.example")
	r := requestFor(t, http.MethodPost, "/jsonrpc", "{}")
	r.Header.Set("Origin", "http://localhost")
	r.Header.Set("Content-Type", "text/plain")
	if answer := h.serveAs(withRole(access.Admin), r); answer.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a form of a page is answered %d", answer.Code)
	}
	lines, _ := h.log.read()
	for _, why := range []string{"see allowed-origins", "see allowed-hosts", "Content-Type: application/json"} {
		if strings.Count(lines, why) != 1 {
			t.Errorf("%q is not logged once in:\n%s", why, lines)
		}
	}
}

// A subscriber to all events gets those of plugins only if it may call them.
func TestAllEventsByRole(t *testing.T) {
	h := newGuardedHost(t, setup{})
	heard := make(map[access.Role]string)
	sockets := make(map[access.Role]*socket)
	for role := access.Read; role <= access.Call; role++ {
		s := &socket{front: h.Front, queue: newSendQueue(100, 1<<20, nil)}
		s.from = caller{socket: s, client: withRole(role), dialect: h.dialect}
		sockets[role] = s
		if got := h.answerMessage(t.Context(), s.from, []byte(call("Controller.1.register", `{"event":"all","id":"x"}`))); got.outcome != succeeded {
			t.Fatalf("%s: %s", role, got.body)
		}
	}
	h.ask(t, withRole(access.Operate), "Plain.1.event", `{"n":1}`)
	h.ask(t, withRole(access.Operate), "Controller.1.activate", `{"callsign":"P"}`)
	for role, s := range sockets {
		for _, m := range s.queue.waitAndTakeAll(nil) {
			heard[role] += string(m)
		}
		h.events.removeAllOfSocket(s)
	}
	if !strings.Contains(heard[access.Call], `"n":1`) || !strings.Contains(heard[access.Call], "statechange") {
		t.Errorf("a client that may call plugins hears %s", heard[access.Call])
	}
	if strings.Contains(heard[access.Read], `"n":1`) || !strings.Contains(heard[access.Read], "statechange") {
		t.Errorf("a reader hears %s", heard[access.Read])
	}
}
