package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/plugins/client"
	"dormouse/shell/shellpb"
)

// callsPerRun is how many calls one measurement takes the mean of.
const callsPerRun = 1000

// compareCalls calls one method of one plugin through the host, by websocket and
// by HTTP, and directly by gRPC.
func compareCalls(ctx context.Context, binary, plugins string, runs int) (ws, http, native row, err error) {
	h, err := startHost(ctx, binary, plugins)
	if err != nil {
		return row{}, row{}, row{}, err
	}
	defer func() { err = errors.Join(err, h.stop()) }()
	byWebsocket, err := h.dialWebsocket(ctx)
	if err != nil {
		return row{}, row{}, row{}, err
	}
	byGRPC, disconnect, err := h.dialGRPC()
	if err != nil {
		return row{}, row{}, row{}, err
	}
	defer disconnect()
	byCommunicator, hangUp, err := h.dialNative()
	if err != nil {
		return row{}, row{}, row{}, err
	}
	defer hangUp()
	var overWS, overHTTP, forwarded, direct series
	for run := range runs + 1 {
		err := errors.Join(
			timed(&overWS, func() error { return repeat(ctx, byWebsocket) }),
			timed(&direct, func() error { return repeat(ctx, byGRPC) }),
			timed(&forwarded, func() error { return repeat(ctx, byCommunicator) }),
			timed(&overHTTP, func() error { return repeat(ctx, h.callHTTP) }),
		)
		if err != nil {
			return row{}, row{}, row{}, err
		}
		if run == 0 {
			overWS, overHTTP, forwarded, direct = nil, nil, nil, nil // warm-up
		}
	}
	for _, s := range []series{overWS, overHTTP, forwarded, direct} {
		for i := range s {
			s[i] /= callsPerRun
		}
	}
	return row{what: "call over websocket", own: overWS, yardstick: "the same by gRPC", plain: direct, aim: 2},
		row{what: "call over HTTP", own: overHTTP, yardstick: "the same by gRPC", plain: direct, aim: 3},
		row{what: "call over communicator", own: forwarded, yardstick: "the same by gRPC", plain: direct, aim: 2.2}, nil
}

func repeat(ctx context.Context, call func(context.Context) error) error {
	return times(callsPerRun, func() error { return call(ctx) })
}

// host is a dormouse that serves one echo plugin, and has another that does
// not run.
type servedHost struct {
	cmd     *exec.Cmd
	dir     string
	address string
}

func startHost(ctx context.Context, binary, plugins string) (*servedHost, error) {
	dir, err := os.MkdirTemp("", "dmb")
	if err != nil {
		return nil, err
	}
	// As root the host runs no program of a checkout that another user can change.
	echo := filepath.Join(dir, "echo")
	program, err := os.ReadFile(filepath.Join(plugins, "echo"))
	if err == nil {
		err = os.WriteFile(echo, program, 0o700)
	}
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf("[[plugin]]\ncallsign = \"Echo\"\nexecutable = %q\nstart-mode = \"activated\"\n"+
		"[[plugin]]\ncallsign = \"Idle\"\nexecutable = %[1]q\n", echo)
	if err := os.WriteFile(filepath.Join(dir, "dormouse.toml"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	h := &servedHost{dir: dir}
	h.cmd = exec.Command(binary, "serve", "--config", filepath.Join(dir, "dormouse.toml"), "--root", dir, "--listen", "127.0.0.1:0", "--log-level", "warn")
	h.cmd.Stderr = os.Stderr
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	err = poll(ctx, func() (bool, error) {
		text, err := os.ReadFile(filepath.Join(dir, "address"))
		h.address = strings.TrimSpace(string(text))
		if err != nil || h.address == "" {
			return false, nil //nolint:nilerr // not yet
		}
		return h.callHTTP(ctx) == nil, nil
	})
	return h, err
}

func (h *servedHost) stop() error {
	err := h.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, h.cmd.Wait(), os.RemoveAll(h.dir))
}

// request is what every way of calling sends.
const request = `{"jsonrpc":"2.0","id":1,"method":"Echo.1.echo","params":{"text":"hello"}}`

func (h *servedHost) callHTTP(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.address+"/jsonrpc", strings.NewReader(request))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return checkAnswer(body)
}

func (h *servedHost) dialWebsocket(ctx context.Context) (func(context.Context) error, error) {
	conn, _, err := websocket.Dial(ctx, "ws://"+h.address+"/jsonrpc", nil) //nolint:bodyclose // Dial says that it has none
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := conn.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
			return err
		}
		_, answer, err := conn.Read(ctx)
		if err != nil {
			return err
		}
		return checkAnswer(answer)
	}, nil
}

// dialGRPC calls the plugin on its own socket.
func (h *servedHost) dialGRPC() (call func(context.Context) error, hangUp func(), err error) {
	sockets, err := filepath.Glob(filepath.Join(h.dir, "run", "Echo", "plugin*"))
	if err != nil || len(sockets) != 1 {
		return nil, nil, fmt.Errorf("the plugin has sockets %v, %w", sockets, err)
	}
	conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", sockets[0])
		}))
	if err != nil {
		return nil, nil, err
	}
	return echo(conn), func() { _ = conn.Close() }, nil
}

// dialMany is dialGRPC on n connections.
func (h *servedHost) dialMany(n int) (calls []func(context.Context) error, hangUp func(), err error) {
	var ends []func()
	hangUp = func() {
		for _, end := range ends {
			end()
		}
	}
	for range n {
		call, end, err := h.dialGRPC()
		if err != nil {
			return nil, hangUp, err
		}
		calls, ends = append(calls, call), append(ends, end)
	}
	return calls, hangUp, nil
}

// dialNative calls the same service through the host.
func (h *servedHost) dialNative() (call func(context.Context) error, hangUp func(), err error) {
	c, err := client.New(filepath.Join(h.dir, "run", "communicator"))
	if err != nil {
		return nil, nil, err
	}
	return echo(c.Conn("Echo")), func() { _ = c.Close() }, nil
}

func echo(conn grpc.ClientConnInterface) func(context.Context) error {
	dispatcher := shellpb.NewDispatcherClient(conn)
	return func(ctx context.Context) error {
		answer, err := dispatcher.Invoke(ctx, &shellpb.InvokeRequest{Method: "echo", Params: []byte(`{"text":"hello"}`)})
		if err != nil {
			return err
		}
		return checkAnswer(answer.GetResult())
	}
}

func checkAnswer(answer []byte) error {
	if !bytes.Contains(answer, []byte(`{"text":"hello"}`)) {
		return fmt.Errorf("unexpected answer: %s", answer)
	}
	return nil
}
