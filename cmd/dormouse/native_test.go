package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	nativeclient "dormouse/plugins/client"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
)

// nativeClient is a client of the host's communicator socket.
func (h *testHost) nativeClient(t *testing.T) (*nativeclient.Client, string) {
	t.Helper()
	path, _ := h.wait(t, "listening")["communicator"].(string)
	c, err := nativeclient.New(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, path
}

func TestNativeClient(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	c, path := h.nativeClient(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its rights are %v, %v", info.Mode(), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if _, err := c.Controller().Activate(ctx, &controllerpb.InstanceRequest{Callsign: "Counter"}); err != nil {
		t.Error(err)
	}
	answer, err := shellpb.NewDispatcherClient(c.Conn("Counter")).Invoke(ctx, &shellpb.InvokeRequest{Method: "increment"})
	if err != nil || string(answer.GetResult()) != `{"value":42}` {
		t.Errorf("got %v, %v", answer, err)
	}
	watch, err := c.Controller().Watch(ctx, &controllerpb.WatchRequest{})
	if err == nil {
		_, err = watch.Recv()
	}
	if err != nil {
		t.Error(err)
	}
	if code := h.end(t); code != exitDone { // though a watch is open
		t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestNoSuchGroup(t *testing.T) {
	h := hostCommand(t, t.TempDir(), "[host]\ncommunicator-group = \"no-such-group\"\n")
	out, err := h.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("got %v", err)
	}
	result{err: string(out), code: exitFailed}.expect(t, exitFailed, `!there is no group "no-such-group"`)
}

// systemd tells the native clients' socket from the front's by its name.
func TestNativeSocketHandedOver(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "handed")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	h := newManager(t).start(root, []named{{nativeName, socket}})
	h.wait(t, "ready")
	c, used := h.nativeClient(t)
	if used != path {
		t.Errorf("it serves %s, it was handed %s", used, path)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	all, err := c.Controller().Services(ctx, &controllerpb.ServicesRequest{})
	plugins := 0
	for _, s := range all.GetServices() {
		if s.GetLocator() != "" { // not a part of the host
			plugins++
		}
	}
	if err != nil || plugins != 3 {
		t.Errorf("got %v, %v", all, err)
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Echo        activated") // the front was bound as ever
}
