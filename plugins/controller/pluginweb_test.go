package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/webpb"
)

// webEcho is a plugin's Web that answers with what it was asked: the method, the path, the
// length of the body, and the authorization; with who calls, if it is told.
type webEcho struct {
	webpb.UnimplementedWebServer
}

func (webEcho) Serve(stream webpb.Web_ServeServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	length := len(first.GetBody())
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		length += len(part.GetBody())
	}
	headers := make(http.Header)
	for _, h := range first.GetHead().GetHeaders() {
		headers.Add(h.GetName(), string(h.GetValue()))
	}
	if first.GetHead().GetPath() == "endless" {
		for err = stream.Send(&webpb.Response{Head: &webpb.ResponseHead{Status: 200}}); err == nil; {
			err = stream.Send(&webpb.Response{Body: make([]byte, 64<<10)})
		}
		return err
	}
	text := fmt.Sprintf("%s %s %d %s", first.GetHead().GetMethod(), first.GetHead().GetPath(), length, headers.Get("Authorization"))
	md, _ := metadata.FromIncomingContext(stream.Context())
	for key := range md {
		if strings.HasPrefix(key, "dormouse-") || strings.HasPrefix(key, "x-") {
			text += " told of " + key
		}
	}
	return stream.Send(&webpb.Response{Head: &webpb.ResponseHead{Status: 202}, Body: []byte(text)})
}

// newWebHost returns a host whose plugin Plain serves a Web by webEcho, of bodies up to 1000
// bytes. The plugin's methods return their caller.
func newWebHost(t *testing.T, rows ...configs.Access) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "cw") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	webpb.RegisterWebServer(server, webEcho{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // Stop ends it
	}()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		<-served
	})
	return newGuardedHost(t, setup{limits: func(l *limits) { l.bodyTime, l.writeTime = 100*time.Millisecond, 100*time.Millisecond }, fakes: func(p *fakePlugin) {
		if p.config.Callsign == "Plain" {
			p.Info.Services, p.Info.MaxWebBody = []string{webpb.Web_ServiceDesc.ServiceName}, 1000
			p.Connection = conn
			p.AnswerCall = func(ctx context.Context, _ shell.Call) (json.RawMessage, error) {
				return json.Marshal(shell.CallerOf(ctx))
			}
		}
	}}, rows...)
}

func TestPluginWeb(t *testing.T) {
	h := newWebHost(t, configs.Access{User: "61000", Role: configs.RoleCall, Methods: []string{"web"}}, configs.Access{User: "61001", Role: configs.RoleCall, Methods: []string{"echo"}})
	caller := withRole(access.Call)
	user := func(uid int) access.Client {
		return access.Client{User: &access.User{UID: uid}, Address: "127.0.0.1:4242", Loopback: true}
	}
	token := "Bearer dormouse_stranger"
	for _, test := range []struct {
		name         string
		client       access.Client
		method, path string
		body         int
		headers      []string
		status       int
		answer       string
	}{
		{"the root", caller, "GET", "/Service/Plain/", 0, nil, 202, "GET  0 "},
		{"a path", caller, "PATCH", "/Service/Plain/a/b%20c", 3, nil, 202, "PATCH a/b c 3 "},
		{"the longest body", caller, "POST", "/Service/Plain/x", 1000, nil, 202, "POST x 1000 "},
		{"a body that is too long", caller, "POST", "/Service/Plain/x", 1001, nil, 413, "more than 1000 bytes"},
		{"a body that becomes too long", caller, "POST", "/Service/Plain/x", 1001, []string{"Transfer-Encoding", "chunked"}, 413, "more than 1000 bytes"},
		{"without the slash", caller, "GET", "/Service/Plain?q=1", 0, nil, 301, "/Service/Plain/?q=1"},
		{"the web page", caller, "GET", "/Service/Plain/UI/x", 0, nil, 404, "404 page not found"},
		{"a body for the web page", caller, "POST", "/Service/Plain/UI/x", 3, nil, 404, "has nothing at"},
		{"a path like the web page's", caller, "GET", "/Service/Plain/UIs", 0, nil, 202, "GET UIs 0 "},
		{"a websocket", caller, "GET", "/Service/Plain/x", 0, []string{"Upgrade", "websocket"}, 503, "Could not find a correct service for this socket."},
		{"a browser's question", caller, "OPTIONS", "/Service/Plain/x", 0, nil, 204, ""},
		{"a role that is too low", withRole(access.Read), "GET", "/Service/Plain/x", 0, nil, 403, "web of Plain needs the role call"},
		{"no role", withRole(access.None), "GET", "/Service/Plain/x", 0, nil, 401, ""},
		{"a role for the web alone", user(61000), "GET", "/Service/Plain/x", 0, nil, 202, "GET x 0 "},
		{"a role for another method", user(61001), "GET", "/Service/Plain/x", 0, nil, 403, "needs the role call"},
		{"the host's token", caller, "GET", "/Service/Plain/x", 0, []string{"Authorization", token}, 202, "GET x 0 "},
		{"a password of the plugin's", caller, "GET", "/Service/Plain/x", 0, []string{"Authorization", "Basic eDp5"}, 202, "GET x 0 Basic eDp5"},
		{"a forged caller", caller, "GET", "/Service/Plain/x", 0, []string{"Dormouse-Caller", "Auto", "Dormouse-As", "Auto", "Grpc-Metadata-Dormouse-Caller", "Auto"}, 202, "GET x 0 "},
		{"a form of the host's page", caller, "POST", "/Service/Plain/x", 3, []string{"Origin", "http://localhost", "Sec-Fetch-Site", "same-origin", "Content-Type", "application/x-www-form-urlencoded"}, 202, "POST x 3 "},
		{"a form of a page beside", caller, "POST", "/Service/Plain/x", 3, []string{"Sec-Fetch-Site", "same-site", "Content-Type", "application/x-www-form-urlencoded"}, 415, "Content-Type"},
		{"a form of another page", caller, "POST", "/Service/Plain/x", 3, []string{"Origin", "http://example.com", "Content-Type", "text/plain"}, 403, "allowed-origins"},
		{"a plugin without a Web", caller, "GET", "/Service/Auto/x", 0, nil, 503, "not loaded"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := requestFor(t, test.method, test.path, strings.Repeat("x", test.body))
			for i := 0; i < len(test.headers); i += 2 {
				r.Header.Set(test.headers[i], test.headers[i+1])
			}
			if r.Header.Get("Transfer-Encoding") != "" {
				r.ContentLength = -1
			}
			answer := h.serveAs(test.client, r)
			text := answer.Body.String() + answer.Header().Get("Location")
			if answer.Code != test.status || !strings.Contains(text, test.answer) || answer.Code == 202 && text != test.answer {
				t.Errorf("%d %q; want %d %q", answer.Code, text, test.status, test.answer)
			}
		})
	}
	sh, _ := h.supervisor.Shell("Plain")
	if err := sh.Deactivate(t.Context(), shell.Requested); err != nil {
		t.Fatal(err)
	}
	if answer := h.serveAs(caller, requestFor(t, "GET", "/Service/Plain/x", "")); answer.Code != 503 || !strings.Contains(answer.Body.String(), "Plain is not active") {
		t.Errorf("deactivated: %d %q", answer.Code, answer.Body)
	}
}

// TestPluginWebKeepsTokens has a plugin not told the token with which a client has shown itself.
func TestPluginWebKeepsTokens(t *testing.T) {
	h := newWebHost(t, configs.Access{Token: "t", Role: configs.RoleCall})
	const token = "dormouse_known"
	h.access.SetTokens([]access.Token{{Name: "t", Digest: access.DigestOf(token)}})
	r := requestFor(t, "GET", "/Service/Plain/x", "")
	r.Header.Set("Authorization", "bearer  "+token)
	if answer := h.serveAs(access.Client{Address: "127.0.0.1:1", Loopback: true}, r); answer.Code != 202 || answer.Body.String() != "GET x 0 " {
		t.Errorf("%d %q", answer.Code, answer.Body)
	}
}

// TestPluginWebOverNet has bodies and answers of any length cross a real connection, and the
// connection serve the next request.
func TestPluginWebOverNet(t *testing.T) {
	h := newWebHost(t)
	client := h.server.Client()
	for _, length := range []int{0, 1000, 1001, 5} {
		answer, err := client.Post(h.server.URL+"/Service/Plain/x", "application/octet-stream", io.MultiReader(bytes.NewReader(make([]byte, length))))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		want := fmt.Sprintf("POST x %d ", length)
		if length > 1000 {
			want = "the body has more than 1000 bytes\n"
		}
		if err != nil || string(text) != want {
			t.Errorf("%d bytes: %d %q, %v", length, answer.StatusCode, text, err)
		}
	}
}

// TestPluginWebOfSlowClients has clients that send no more of a body, or take no more of an
// endless answer, cut off, and nothing of their calls left.
func TestPluginWebOfSlowClients(t *testing.T) {
	h := newWebHost(t)
	for name, test := range map[string]struct{ request, answer string }{
		"a body that stops":          {"POST /Service/Plain/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nabc", "HTTP/1.1 400 Bad Request"},
		"an answer that is not read": {"GET /Service/Plain/endless HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200 OK"},
	} {
		conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, test.request); err != nil {
			t.Fatal(err)
		}
		start := make([]byte, len(test.answer))
		if _, err := io.ReadFull(conn, start); err != nil || string(start) != test.answer {
			t.Errorf("%s: %q, %v", name, start, err)
		}
		sh, _ := h.supervisor.Shell("Plain")
		for use := sh.UseStatus(); use.Calls+use.Streams > 0; use = sh.UseStatus() {
			runtime.Gosched() // until the host gives up
		}
		_ = conn.Close()
	}
}

// TestClientHasNoCaller has clients name a caller in each way that a caller is named inside of
// the host. The plugin is told of none.
func TestClientHasNoCaller(t *testing.T) {
	h := newWebHost(t)
	for _, message := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"Plain.1.who","params":{"caller":"Auto"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"Plain.1.who","caller":"Auto","callsign":"Auto","dormouse-caller":"Auto"}`,
	} {
		r := requestFor(t, "POST", "/jsonrpc", message)
		for _, name := range []string{shellpb.CallerKey, shellpb.AsKey, shellpb.CallsignKey} {
			r.Header.Set(name, "Auto")
		}
		if answer := h.serveAs(withRole(access.Call), r); !strings.Contains(answer.Body.String(), `"result":""`) {
			t.Errorf("%s: %d %q", message, answer.Code, answer.Body)
		}
	}
}
