package native

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/hibernate/hibernatetest"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

const (
	activate = shellpb.Operation_OPERATION_ACTIVATE
	sleep    = shellpb.Operation_OPERATION_HIBERNATE
)

// The host socket is closed while the plugin sleeps and open again before its
// AfterRestore, which connects to it.
func TestHostSocketSleeps(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	for range 3 {
		h.must("Streams", sleep)
		if _, err := os.Stat(h.hostSocket()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("asleep it has a host socket: %v", err)
		}
		h.must("Streams", activate)
		if got := h.call("keep"); got != "true" {
			t.Errorf("got %s", got)
		}
		h.call("release")
	}
}

// A connection that the plugin does not close would be dumped with it.
func TestHostSocketKept(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.call("keep")
	err := h.operate("Streams", sleep)
	if err == nil || !strings.Contains(err.Error(), "keeps 1 connections to its host socket open; it must close them in BeforeCheckpoint") {
		t.Errorf("got %v", err)
	}
	// It runs on, is served again, and can sleep when it lets go.
	h.call("release")
	h.call("keep")
	h.call("release")
	h.must("Streams", sleep, activate)
}

// A plugin that ends takes its host socket along, whatever it had open on it.
func TestHostSocketEnds(t *testing.T) {
	h := startHost(t)
	h.call("keep")
	if _, err := os.Stat(h.hostSocket()); err != nil {
		t.Error(err)
	}
	h.must("Streams", shellpb.Operation_OPERATION_DEACTIVATE)
	if _, err := os.Stat(h.hostSocket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ended it has a host socket: %v", err)
	}
	h.must("Streams", activate)
	h.call("keep")
}

// Only the plugin can connect.
func TestHostSocketOfAnother(t *testing.T) {
	h := startHost(t)
	conn, err := net.Dial("unix", h.hostSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes, %v", n, err)
	}
}

// ownSocket serves h to the test as if it were the plugin of the callsign.
func (h *rig) ownSocket(callsign string) *grpc.ClientConn {
	h.t.Helper()
	l, err := net.Listen("unix", h.dir+"/own")
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(h.host.Communicator.ServeInstance(callsign, l))
	conn, err := grpc.NewClient("unix:"+h.dir+"/own", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// A plugin's call is about itself unless it names another instance, and a plugin may do
// more with itself than with others.
func TestOwnSocket(t *testing.T) {
	h := startHost(t)
	own := shellpb.NewShellClient(h.ownSocket("Streams"))
	st, err := own.Status(h.limited(), &shellpb.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Streams", "plugin", "STATE_ACTIVATED"}, []string{st.GetCallsign(), st.GetClass(), st.GetState().String()}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	heard := make(chan shell.Notification, 10)
	t.Cleanup(h.host.Supervisor.Listen(ear{heard}))
	event := &shellpb.Event{Name: "news", Params: []byte(`{"n":1}`), Index: "x"}
	if _, err := own.Notify(h.limited(), &shellpb.NotifyRequest{Event: event}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(shell.Notification{Event: "news", Index: "x", Params: []byte(`{"n":1}`)}, <-heard); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	event.Params = []byte("{")
	if _, err := own.Notify(h.limited(), &shellpb.NotifyRequest{Event: event}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an event that is no JSON: %v", err)
	}
	_, err = h.client.Shell("Streams").Notify(h.limited(), &shellpb.NotifyRequest{Event: event})
	if status.Code(err) != codes.PermissionDenied || shellpb.ErrorDetailOf(err).GetCode() != 24 {
		t.Errorf("an event in another's name: %v", err)
	}
	_, err = h.client.Shell("Streams").SetSubsystem(h.limited(), &shellpb.SetSubsystemRequest{})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("a subsystem in another's name: %v", err)
	}
}

// A plugin that ends itself is ended, and nothing waits for its call.
func TestOwnEnd(t *testing.T) {
	h := startHost(t)
	own := shellpb.NewShellClient(h.ownSocket("Streams"))
	if _, err := own.Operate(h.limited(), &shellpb.OperateRequest{Operation: shellpb.Operation_OPERATION_DEACTIVATE}); err != nil {
		t.Error(err)
	}
	st, err := h.client.Shell("Streams").Status(h.limited(), &shellpb.StatusRequest{})
	if err != nil || st.GetState() != shellpb.State_STATE_DEACTIVATED {
		t.Errorf("got %v, %v", st, err)
	}
}
