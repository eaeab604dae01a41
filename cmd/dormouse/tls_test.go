package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	nativeclient "dormouse/plugins/client"
	"dormouse/plugins/controller/controllerpb"
)

// What another machine gets depends on the token or the certificate that it shows, and
// ends with it.
func TestFarClients(t *testing.T) {
	far, ca, root := newFarNetwork(t), newAuthority(t), t.TempDir()
	certificate, key := ca.issue(t, "box", farAway)
	token := strings.TrimSpace(dormouse(t, nil, "token", "add", "tv", "--root", root).expect(t, exitDone, "dormouse_").out)
	useless := strings.TrimSpace(dormouse(t, nil, "token", "add", "useless", "--root", root).expect(t, exitDone).out)
	configuration := "[host]\ntls-certificate = \"" + certificate + "\"\ntls-key = \"" + key + "\"\ntls-client-ca = \"" + ca.file + "\"\nallowed-hosts = [\"" + farAway + "\"]\n" +
		"[[access]]\ntoken = \"tv\"\nrole = \"operate\"\n[[access]]\ncertificate = \"remote\"\nrole = \"read\"\n" + counterActivated
	cmd := hostCommand(t, root, configuration, "--listen", farAway+":0")
	var h *testHost
	far.do(func() { h = startCommand(t, root, cmd) })

	post := func(client *http.Client, token, method string) (status int, answer string) {
		t.Helper()
		request, err := http.NewRequest(http.MethodPost, "https://"+h.address+"/jsonrpc", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":{"callsign":"Counter"}}`))
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			request.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	plain := far.client(t, ca.trusting(t))
	remote, remoteKey := ca.issue(t, "remote")
	other, otherKey := newAuthority(t).issue(t, "remote")
	for _, c := range []struct {
		name, token, method string
		client              *http.Client
		status              int
		part                string
	}{
		{"nothing shown", "", "Controller.1.status", plain, http.StatusUnauthorized, ""},
		{"a guessed token", "dormouse_guess", "Controller.1.status", plain, http.StatusUnauthorized, ""},
		{"a token", token, "Controller.1.deactivate", plain, http.StatusOK, `"result":null`},
		{"a token for more than it may", token, "Controller.1.reload", plain, http.StatusForbidden, "the role admin"},
		{"a token without a row", useless, "Controller.1.subsystems", plain, http.StatusForbidden, "the role read"},
		{"a certificate", "", "Controller.1.subsystems", far.client(t, ca.trusting(t, remote, remoteKey)), http.StatusOK, "result"},
		{"a certificate for more than it may", "", "Controller.1.activate", far.client(t, ca.trusting(t, remote, remoteKey)), http.StatusForbidden, "the role operate"},
	} {
		if status, answer := post(c.client, c.token, c.method); status != c.status || !strings.Contains(answer, c.part) {
			t.Errorf("%s: %d %s", c.name, status, answer)
		}
	}
	foreign := ca.trusting(t, other, otherKey)
	if response, err := far.client(t, foreign).Get("https://" + h.address + "/healthz"); err == nil {
		_ = response.Body.Close()
		t.Error("a certificate of another authority was accepted")
	}
	if response, err := plain.Get("http://" + h.address + "/healthz"); err == nil {
		defer response.Body.Close()
		if response.StatusCode == http.StatusOK {
			t.Error("it was served without TLS")
		}
	}
	if response, err := plain.Get("https://" + h.address + "/healthz"); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("healthz needs no role: %v, %v", response, err)
	} else {
		_ = response.Body.Close()
	}

	// The program itself shows what the environment names.
	environment := []string{"DORMOUSE_HOST=https://" + h.address, "DORMOUSE_CA=" + ca.file}
	far.do(func() {
		dormouse(t, append(environment, "DORMOUSE_TOKEN="+token), "plugin", "activate", "Counter").expect(t, exitDone)
		dormouse(t, append(environment, "DORMOUSE_TOKEN="+token), "reload").expect(t, exitFailed, "!needs the role admin")
		dormouse(t, append(environment, "DORMOUSE_CERTIFICATE="+remote, "DORMOUSE_KEY="+remoteKey), "subsystems").expect(t, exitDone, "SUBSYSTEM")
		dormouse(t, environment, "subsystems").expect(t, exitFailed, "!the host does not know who calls", "!DORMOUSE_TOKEN")
		dormouse(t, environment[:1], "subsystems").expect(t, exitFailed, "!cannot trust the host", "!DORMOUSE_CA")
		dormouse(t, append(environment, "DORMOUSE_CERTIFICATE="+remote), "subsystems").expect(t, exitFailed, `!cannot use the certificate "`+remote+`" in DORMOUSE_CERTIFICATE with the key "" in DORMOUSE_KEY`)
		dormouse(t, []string{"DORMOUSE_HOST=https://" + h.address, "DORMOUSE_CA=/missing"}, "subsystems").expect(t, exitFailed, "!DORMOUSE_CA: cannot use the authorities in /missing: ")
		dormouse(t, []string{"DORMOUSE_HOST=" + h.address}, "subsystems").expect(t, exitFailed, "!speaks TLS; name it https://"+h.address)
	})

	// A websocket shows its token in the URL, and ends when the token is revoked.
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if _, response, err := websocket.Dial(ctx, "wss://"+h.address+"/jsonrpc?token=wrong", &websocket.DialOptions{HTTPClient: plain}); err == nil || response.StatusCode != http.StatusUnauthorized { //nolint:bodyclose // Dial has read it
		t.Errorf("a websocket with a wrong token: %v", err)
	}
	ws, _, err := websocket.Dial(ctx, "wss://"+h.address+"/jsonrpc?token="+token, &websocket.DialOptions{HTTPClient: plain}) //nolint:bodyclose // a websocket has none
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	if err := ws.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"Controller.1.activate","params":{"callsign":"Counter"}}`)); err != nil {
		t.Fatal(err)
	}
	if _, answer, err := ws.Read(ctx); err != nil || !strings.Contains(string(answer), `"result":null`) {
		t.Errorf("%s, %v", answer, err)
	}
	dormouse(t, nil, "token", "revoke", "tv", "--root", root).expect(t, exitDone)
	revoked := time.Now()
	if _, _, err := ws.Read(ctx); err == nil {
		t.Error("the websocket of a revoked token is open")
	}
	if took := time.Since(revoked); took > 10*time.Second { // a second, and what a busy machine adds
		t.Errorf("the websocket of a revoked token was open for %s", took)
	}
	if status, answer := post(plain, token, "Controller.1.status"); status != http.StatusUnauthorized {
		t.Errorf("a revoked token: %d %s", status, answer)
	}
	if log := h.log.String(); strings.Contains(log, token) || strings.Contains(log, useless) || strings.Contains(log, "dormouse_guess") {
		t.Errorf("a token is in the log:\n%s", log)
	}
}

// counterActivated is the configuration of a counter that starts with the host.
const counterActivated = "[[plugin]]\ncallsign = \"Counter\"\nexecutable = \"EXAMPLES/counter\"\nstart-mode = \"activated\"\n"

// A listener that other machines can reach without TLS, or where they could show nothing,
// does not start.
func TestExposedListener(t *testing.T) {
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "box", farAway)
	withTLS := "[host]\ntls-certificate = \"" + certificate + "\"\ntls-key = \"" + key + "\"\n"
	const row = "[[access]]\ntoken = \"tv\"\nrole = \"call\"\n"
	for name, c := range map[string]struct{ configuration, part string }{
		"plain":          {"", "needs tls-certificate"},
		"plain, a token": {row, "needs tls-certificate"},
		"TLS alone":      {withTLS, "needs a tls-client-ca"},
		"no token yet":   {withTLS + row, "dormouse token add"},
		"no certificate": {"[host]\ntls-certificate = \"/missing\"\ntls-key = \"/missing\"\ntls-client-ca = \"/missing\"\n", "cannot use the certificate /missing"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			cmd := hostCommand(t, root, c.configuration, "--listen", "0.0.0.0:0")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), c.part) {
				t.Errorf("%v\n%s", err, out)
			}
			if cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() { //nolint:errcheck // Linux has no other
				t.Errorf("it crashed:\n%s", out)
			}
		})
	}
}

// gRPC over TCP follows the same rules.
func TestFarNativeClients(t *testing.T) {
	far, ca, root := newFarNetwork(t), newAuthority(t), t.TempDir()
	certificate, key := ca.issue(t, "box", farAway)
	token := strings.TrimSpace(dormouse(t, nil, "token", "add", "tv", "--root", root).expect(t, exitDone).out)
	configuration := "[[listener]]\naddress = \"" + farAway + ":9999\"\nprotocol = \"grpc\"\ntls-certificate = \"" + certificate + "\"\ntls-key = \"" + key + "\"\n" +
		"tls-client-ca = \"" + ca.file + "\"\n[[access]]\ntoken = \"tv\"\nrole = \"operate\"\n[[access]]\ncertificate = \"remote\"\nrole = \"read\"\n" + counterActivated
	cmd := hostCommand(t, root, configuration)
	far.do(func() { startCommand(t, root, cmd).wait(t, "ready") })
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	client := func(config *tls.Config, token string) controllerpb.ControllerClient {
		t.Helper()
		c, err := nativeclient.NewOverTCP(farAway+":9999", config, token, grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return far.dial(ctx, "tcp", address)
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c.Controller()
	}
	remote, remoteKey := ca.issue(t, "remote")
	plain, mine := ca.trusting(t), ca.trusting(t, remote, remoteKey)
	counter := &controllerpb.InstanceRequest{Callsign: "Counter"}
	for name, c := range map[string]struct {
		client controllerpb.ControllerClient
		call   func(controllerpb.ControllerClient) error
		code   codes.Code
	}{
		"nothing shown":   {client(plain, ""), func(c controllerpb.ControllerClient) error { _, err := c.Version(ctx, nil); return err }, codes.Unauthenticated},
		"a guessed token": {client(plain, "dormouse_guess"), func(c controllerpb.ControllerClient) error { _, err := c.Version(ctx, nil); return err }, codes.Unauthenticated},
		"a token":         {client(plain, token), func(c controllerpb.ControllerClient) error { _, err := c.Activate(ctx, counter); return err }, codes.OK},
		"a token for more": {client(plain, token), func(c controllerpb.ControllerClient) error {
			_, err := c.Reload(ctx, &controllerpb.ReloadRequest{})
			return err
		}, codes.PermissionDenied},
		"a certificate":          {client(mine, ""), func(c controllerpb.ControllerClient) error { _, err := c.Version(ctx, nil); return err }, codes.OK},
		"a certificate for more": {client(mine, ""), func(c controllerpb.ControllerClient) error { _, err := c.Activate(ctx, counter); return err }, codes.PermissionDenied},
	} {
		if err := c.call(c.client); status.Code(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}

	watch, err := client(plain, token).Watch(ctx, &controllerpb.WatchRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	dormouse(t, nil, "token", "revoke", "tv", "--root", root).expect(t, exitDone)
	for err == nil {
		_, err = watch.Recv()
	}
	if ctx.Err() != nil || errors.Is(err, io.EOF) {
		t.Errorf("the watch of a revoked token: %v", err)
	}
}

// A certificate that a host could not use, or its clients not trust, is told by config check.
func TestConfigCheckOfCertificates(t *testing.T) {
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "host", "127.0.0.1")
	_, otherKey := ca.issue(t, "other", "127.0.0.1")
	ca.validUntil = time.Now().Add(-time.Minute)
	expired, expiredKey := ca.issue(t, "host", "127.0.0.1")
	for name, test := range map[string]struct{ certificate, key, want string }{
		"good":        {certificate, key, "nothing wrong"},
		"another key": {certificate, otherKey, ":2: cannot use the certificate " + certificate + " with the key " + otherKey},
		"expired":     {expired, expiredKey, ":2: the certificate has expired on "},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, map[string]string{"dormouse.toml": "[host]\ntls-certificate = \"" + test.certificate + "\"\ntls-key = \"" + test.key + "\"\n"})
			code := exitFailed
			if name == "good" {
				code = exitDone
			}
			dormouse(t, nil, "config", "check", "--config", filepath.Join(dir, "dormouse.toml")).expect(t, code, test.want)
		})
	}
}

// Certificates that were read again count only once they are used, and then for new
// connections.
func TestCertificatesReadAgain(t *testing.T) {
	ca := newAuthority(t)
	certificate, key := ca.issue(t, "first", "127.0.0.1")
	f, err := readTLSFiles(configs.TLS{Certificate: certificate, Key: key, ClientCA: ca.file}, alpnHTTP1)
	if err != nil {
		t.Fatal(err)
	}
	name := func() string { return f.current.Load().Certificates[0].Leaf.Subject.CommonName }
	use, err := f.readAgain()
	if err != nil || use() {
		t.Errorf("the same files: they differ, or %v", err)
	}
	second, secondKey := ca.issue(t, "second", "127.0.0.1")
	if err := os.Rename(second, certificate); err != nil {
		t.Fatal(err)
	}
	if _, err := f.readAgain(); err == nil || name() != "first" {
		t.Errorf("a certificate without its key: %v, %s counts", err, name())
	}
	if err := os.Rename(secondKey, key); err != nil {
		t.Fatal(err)
	}
	if use, err = f.readAgain(); err != nil || name() != "first" {
		t.Fatalf("%v, %s counts too early", err, name())
	}
	if !use() || name() != "second" {
		t.Errorf("%s counts, or does not differ", name())
	}
	if err := os.Rename(newAuthority(t).file, ca.file); err != nil {
		t.Fatal(err)
	}
	if use, err = f.readAgain(); err != nil || !use() {
		t.Errorf("other authorities: they do not differ, or %v", err)
	}
}
