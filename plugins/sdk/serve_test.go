package sdk

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"dormouse/shell/shellpb"
)

// chatty is the plugin that the test binary is when a host starts it.
type chatty struct{ bare }

func (c *chatty) Deinitialize(_ context.Context, why Reason) error {
	c.in.Log.Info("deinitialized", "why", why)
	return nil
}

func (c *chatty) Methods() Methods {
	return Methods{
		"say": func(context.Context, Call) (any, error) {
			c.in.Log.Warn("by instance", "n", 1, slog.Group("g", "level", "x"), "msg", 5)
			slog.Debug("by slog")
			log.Print("by log")
			_, err := fmt.Fprintln(os.Stdout, "by stdout")
			println("by builtin")
			fmt.Fprintln(os.Stderr, "by stderr")
			return nil, err
		},
		"panic": func(context.Context, Call) (any, error) { panic("oops") },
	}
}

// output can be waited for.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newOutput() *output { return &output{more: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.more <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) wait(t *testing.T, pattern string) {
	t.Helper()
	late := time.After(20 * time.Second)
	for {
		o.mu.Lock()
		text := o.text.String()
		o.mu.Unlock()
		if regexp.MustCompile(pattern).MatchString(text) {
			return
		}
		select {
		case <-o.more:
		case <-late:
			t.Fatalf("%s did not appear in:\n%s", pattern, text)
		}
	}
}

// host plays the host: it starts this test binary as a plugin.
type host struct {
	*plugin.Client
	conn           *plugin.GRPCClient
	cmd            *exec.Cmd
	log            *output // what reached the real standard error
	stdout, stderr *output // what went through go-plugin's pipes
}

func launch(t *testing.T) *host {
	t.Helper()
	h := &host{cmd: exec.Command(os.Args[0]), log: newOutput(), stdout: newOutput(), stderr: newOutput()}
	h.Client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  shellpb.ProtocolVersion,
			MagicCookieKey:   shellpb.CookieKey,
			MagicCookieValue: shellpb.CookieValue,
		},
		Plugins:          plugin.PluginSet{"plugin": &goPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              h.cmd,
		Stderr:           h.log,
		SyncStdout:       h.stdout,
		SyncStderr:       h.stderr,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: t.TempDir()},
	})
	t.Cleanup(h.Kill)
	protocol, err := h.Client.Client()
	if err != nil {
		t.Fatal(err)
	}
	h.conn = protocol.(*plugin.GRPCClient) //nolint:errcheck // only gRPC is allowed above
	if err := h.conn.Ping(); err != nil {
		t.Fatal(err)
	}
	answer, err := shellpb.NewPluginClient(h.conn.Conn).Initialize(t.Context(), &shellpb.InitializeRequest{})
	if err != nil || answer.GetError() != "" {
		t.Fatal(err, answer.GetError())
	}
	return h
}

func TestServe(t *testing.T) {
	h := launch(t)
	dispatcher := shellpb.NewDispatcherClient(h.conn.Conn)
	for _, method := range []string{"say", "panic", "say"} {
		_, err := dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: method})
		if failed := err != nil; failed != (method == "panic") {
			t.Errorf("%s: got %v", method, err)
		}
	}
	h.stdout.wait(t, "by stdout\n(.*\n)*by stdout\n")
	h.stderr.wait(t, "by stderr\n")
	h.log.wait(t, `{"@timestamp":"[^"]+","@level":"warn","@message":"by instance","n":1,"g":{"level":"x"},"msg":5}\n`)
	h.log.wait(t, `"@level":"debug","@message":"by slog"}\n`)
	h.log.wait(t, `"@level":"info","@message":"by log"}\n`)
	h.log.wait(t, "by builtin\n")
	h.log.wait(t, `"@level":"error","@message":"the plugin panicked","call":"[^"]+/Invoke","panic":"oops","stack":"[^"]+serve_test.go`)

	// Deinitialize was not called by the host, so the plugin sees to it itself.
	h.Kill()
	h.log.wait(t, `"@message":"deinitialized","why":"shutdown"`)
	if !h.cmd.ProcessState.Success() {
		t.Errorf("the plugin ended with %v", h.cmd.ProcessState)
	}
}

func TestServeSignals(t *testing.T) {
	h := launch(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGPIPE} {
		if err := h.cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.conn.Ping(); err != nil {
		t.Errorf("the plugin died of a signal that was not for it: %v", err)
	}
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	h.log.wait(t, `"@message":"deinitialized","why":"shutdown"`)
	h.Kill()
	if !h.cmd.ProcessState.Success() {
		t.Errorf("the plugin ended with %v", h.cmd.ProcessState)
	}
}

func TestServeDeinitializesOnce(t *testing.T) {
	h := launch(t)
	_, err := shellpb.NewPluginClient(h.conn.Conn).Deinitialize(t.Context(), &shellpb.DeinitializeRequest{Reason: shellpb.Reason_REASON_AUTOMATIC})
	if err != nil {
		t.Fatal(err)
	}
	h.Kill()
	h.log.wait(t, `"@message":"deinitialized","why":"automatic"`)
	if n := strings.Count(h.log.text.String(), "deinitialized"); n != 1 {
		t.Errorf("Deinitialize was called %d times", n)
	}
}

func TestServeByHand(t *testing.T) {
	cmd := exec.Command(os.Args[0], "by-hand")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), "not by hand") {
		t.Errorf("got %v and:\n%s", err, text)
	}
}

func TestServeWithoutSocketDirectory(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), shellpb.CookieKey+"="+shellpb.CookieValue, "PLUGIN_UNIX_SOCKET_DIR=/nonexistent")
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(text), "/nonexistent") {
		t.Errorf("got %v and:\n%s", err, text)
	}
}
