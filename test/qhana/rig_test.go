// Package qhana tests a real host with real plugin processes as QHAna's programs meet it, over
// HTTP: a registry, and plugins of a runner.
package qhana

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/leaktest"
	"dormouse/plugins/host"
	"dormouse/plugins/qhana/qhanatest"
)

// patience is how long anything may take that should succeed.
const patience = time.Minute

// bin holds the plugins.
var bin string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	if bin, err = os.MkdirTemp("", "dq"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(bin)
	for _, args := range [][]string{
		{"build", "-o", bin + "/", "./objective", "./inviter", "dormouse/plugins/examples/optimizer", "dormouse/plugins/examples/minimizer"},
		{"build", "-o", bin + "/least-squares", "dormouse/plugins/examples/objective"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("cannot build the plugins: %w\n%s", err, out)
		}
	}
	return leaktest.Run(m), nil
}

// rig is a host in a directory of its own, which may be started again.
type rig struct {
	t      *testing.T
	dir    string
	listen string
	url    string // of the seed
	config configs.Config
	host   *host.Host
	server *http.Server
	served chan error
}

// newRig starts a host with the plugin Objective, which tells the registries.
func newRig(t *testing.T, registries ...string) *rig {
	t.Helper()
	return newRigWith(t, nil, registries...)
}

// newRigWith is newRig with further plugins.
func newRigWith(t *testing.T, plugins []configs.Plugin, registries ...string) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "dq") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &rig{t: t, dir: dir, config: configs.Default()}
	l := h.listenAt("127.0.0.1:0")
	h.listen = l.Addr().String()
	h.url = "http://" + h.listen + "/qhana"
	h.config.Host.Root, h.config.Hibernate.Dir = filepath.Join(dir, "root"), filepath.Join(dir, "images")
	h.config.Host.PublicURL, h.config.QHAna.Registries = "http://"+h.listen, registries
	h.config.Webhooks.Allow = []string{"127.0.0.0/8"}
	inviter := objective("Inviter", configs.StartActivated)
	inviter.Executable = filepath.Join(bin, "inviter")
	h.config.Plugins = append([]configs.Plugin{objective("Objective", configs.StartActivated), inviter}, plugins...)
	h.startOn(l)
	t.Cleanup(h.stop)
	return h
}

// objective returns an instance of the plugin.
func objective(callsign string, mode configs.StartMode) configs.Plugin {
	p := configs.DefaultPlugin()
	p.Callsign, p.Executable, p.StartMode = callsign, filepath.Join(bin, "objective"), mode
	return p
}

// listenAt listens at an address.
func (h *rig) listenAt(address string) net.Listener {
	h.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(h.t.Context(), "tcp", address)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// startOn starts the host, which accepts clients on the listener.
func (h *rig) startOn(l net.Listener) {
	h.t.Helper()
	var err error
	h.host, err = host.Open(host.Options{
		Config: h.config, RunDir: filepath.Join(h.dir, "run"), Log: zerolog.New(zerolog.NewTestWriter(h.t)).Level(zerolog.InfoLevel),
		Listening: []netip.AddrPort{netip.MustParseAddrPort(h.listen)},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.server, h.served = h.host.Front.NewServer(configs.Listener{}), make(chan error, 1)
	go func() { h.served <- h.server.Serve(l) }()
	h.host.StartPlugins(h.t.Context())
}

// stop ends the host.
func (h *rig) stop() {
	if h.host == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	h.host.StopTellingRegistries()
	h.host.StopPackageOperations()
	err := errors.Join(h.host.Front.Close(ctx), h.server.Close(), h.host.StopPluginsAndCommunicator(ctx), h.host.CleanUpAndClose(false))
	if serr := <-h.served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		h.t.Error(err)
	}
	h.host = nil
}

// restart ends the host and starts it again.
func (h *rig) restart() {
	h.t.Helper()
	h.stop()
	h.startOn(h.listenAt(h.listen))
}

// limited returns a context that ends when a test has waited for too long.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// newRegistry returns a registry that ends with the test, after the host.
func newRegistry(t *testing.T) *qhanatest.Registry {
	t.Helper()
	r := qhanatest.NewRegistry()
	t.Cleanup(r.Close)
	return r
}

// newRunner returns a runner that ends with the test, after the host.
func newRunner(t *testing.T) *qhanatest.Runner {
	t.Helper()
	r := qhanatest.NewRunner()
	t.Cleanup(r.Close)
	return r
}

// get returns what an address answers.
func get(t *testing.T, address string) (status int, header http.Header, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(limited(t), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header, textOf(t, response.Body)
}

// textOf returns all of a text.
func textOf(t *testing.T, from io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// post returns the status that an address answers an empty POST with.
func post(t *testing.T, address string) (status int) {
	t.Helper()
	request, err := http.NewRequestWithContext(limited(t), http.MethodPost, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
