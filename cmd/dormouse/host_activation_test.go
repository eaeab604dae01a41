package main

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	nativeclient "dormouse/plugins/client"
	"dormouse/shell/shellpb"
)

// The clients that wake a host by its sockets get their answers: a JSON-RPC client and a
// native one, which call a plugin that the host is yet to start.
func TestClientsThatWakeTheHostAreAnswered(t *testing.T) {
	root := t.TempDir()
	front, address := listening(t)
	path := filepath.Join(t.TempDir(), "native")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	native, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer native.Close()

	called := make(chan result, 1)
	go func() { called <- dormouse(t, []string{"DORMOUSE_LISTEN=" + address}, "call", "Counter.increment") }()
	c, err := nativeclient.New(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	failed := make(chan error, 1)
	go func() {
		answer, err := shellpb.NewDispatcherClient(c.Conn("Counter")).Invoke(t.Context(), &shellpb.InvokeRequest{Method: "increment"})
		if err == nil && !strings.HasPrefix(string(answer.GetResult()), `{"value":4`) {
			t.Errorf("a native client is answered %s", answer.GetResult())
		}
		failed <- err
	}()

	m := newManager(t)
	h := m.start(root, []named{{"dormouse.socket", front}, {nativeName, native}})
	(<-called).expect(t, exitDone, `{"value":4`)
	if err := <-failed; err != nil {
		t.Errorf("a native client: %v", err)
	}
	m.expect("READY=1")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":43}`)
}
