package native

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// watchEvents returns once the watch has begun.
func (h *rig) watchEvents(callsign string, r *shellpb.WatchEventsRequest) grpc.ServerStreamingClient[shellpb.Event] {
	h.t.Helper()
	stream, err := shellpb.NewDispatcherClient(h.client.Conn(callsign)).Watch(h.limited(), r)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil {
		h.t.Fatal(err)
	}
	return stream
}

// increment counts on, and returns the number of the newest event at the answer.
func (h *rig) increment() (eventsUntil uint64) {
	h.t.Helper()
	var trailer metadata.MD
	_, err := shellpb.NewDispatcherClient(h.client.Conn("Counter")).Invoke(h.limited(), &shellpb.InvokeRequest{Method: "increment"}, grpc.Trailer(&trailer))
	if err != nil {
		h.t.Fatal(err)
	}
	eventsUntil, _ = shellpb.ParseEventsUntil(trailer)
	return eventsUntil
}

// expectEvent fails the test unless the next event is that of the nth increment.
func expectEvent(t *testing.T, stream grpc.ServerStreamingClient[shellpb.Event], n int) {
	t.Helper()
	t.Helper()
	got := next(t, stream)
	if got.GetName() != "changed" || string(got.GetParams()) != fmt.Sprintf(`{"value":%d}`, n) || got.GetSequence() != uint64(n) {
		t.Errorf("got %v, want event %d", got, n)
	}
}

func TestEventsAreWatched(t *testing.T) {
	h := startHost(t)
	h.increment()
	all := h.watchEvents("Counter", &shellpb.WatchEventsRequest{})
	named := h.watchEvents("Counter", &shellpb.WatchEventsRequest{Events: []string{"whatever", "changed"}})
	other := h.watchEvents("Counter", &shellpb.WatchEventsRequest{Events: []string{"Changed"}})
	elsewhere := h.watchEvents("Streams", &shellpb.WatchEventsRequest{})
	indexed := h.watchEvents("Counter", &shellpb.WatchEventsRequest{Index: "4"})
	for n := 2; n < 10; n++ {
		if until := h.increment(); until != uint64(n) {
			t.Errorf("the answer came after event %d, not %d", until, n)
		}
		for _, stream := range []grpc.ServerStreamingClient[shellpb.Event]{all, named, indexed} {
			expectEvent(t, stream, n)
		}
	}
	counter, _ := h.host.Supervisor.Shell("Counter")
	if use := counter.UseStatus(); use.Streams != 0 {
		t.Errorf("a watch counts as use: %+v", use)
	}
	counter.Notify(shell.Notification{Event: "tuned", Index: "3"})
	counter.Notify(shell.Notification{Event: "tuned", Params: []byte(`{`)}) // is left out
	counter.Notify(shell.Notification{Event: "Changed", Index: "4", Params: []byte(`1`)})
	var got []string
	for _, stream := range []grpc.ServerStreamingClient[shellpb.Event]{all, all, indexed, other} {
		e := next(t, stream)
		got = append(got, e.GetName()+"@"+e.GetIndex())
	}
	if diff := cmp.Diff([]string{"tuned@3", "Changed@4", "Changed@4", "Changed@4"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	streams, _ := h.host.Supervisor.Shell("Streams")
	streams.Notify(shell.Notification{Event: "own"})
	if e := next(t, elsewhere); e.GetName() != "own" {
		t.Errorf("got %v of another plugin", e)
	}
}

// A watch lasts while the plugin sleeps, and does not wake it.
func TestWatchOfWhatSleeps(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	before := h.watchEvents("Counter", &shellpb.WatchEventsRequest{})
	h.increment()
	h.must("Counter", sleep)
	meanwhile := h.watchEvents("Counter", &shellpb.WatchEventsRequest{})
	if st, err := h.client.Shell("Counter").Status(h.limited(), &shellpb.StatusRequest{}); err != nil || st.GetState() != shellpb.State_STATE_HIBERNATED {
		t.Errorf("got %v, %v", st, err)
	}
	h.must("Counter", activate)
	h.increment()
	expectEvent(t, before, 1)
	expectEvent(t, before, 2)
	expectEvent(t, meanwhile, 2)
}

func TestEndOfAWatch(t *testing.T) {
	h := startHost(t)
	expectEnd := func(stream grpc.ServerStreamingClient[shellpb.Event], code codes.Code, number int32) {
		t.Helper()
		var err error
		for err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != code || shellpb.ErrorDetailOf(err).GetCode() != number {
			t.Errorf("got %v with %v", err, status.Convert(err).Details())
		}
	}
	if _, err := h.client.Controller().Clone(h.limited(), &controllerpb.CloneRequest{Callsign: "Other", NewCallsign: "Clone"}); err != nil {
		t.Fatal(err)
	}
	gone := h.watchEvents("Clone", &shellpb.WatchEventsRequest{Events: []string{"none"}})
	if _, err := h.client.Controller().Destroy(h.limited(), &controllerpb.InstanceRequest{Callsign: "Clone"}); err != nil {
		t.Fatal(err)
	}
	expectEnd(gone, codes.NotFound, 22)
	unknown, err := shellpb.NewDispatcherClient(h.client.Conn("Nobody")).Watch(h.limited(), &shellpb.WatchEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	expectEnd(unknown, codes.NotFound, 22)

	counter, _ := h.host.Supervisor.Shell("Counter")
	for name, event := range map[string]shell.Notification{
		"many":  {Event: "tuned"},
		"large": {Event: "tuned", Params: []byte(`"` + strings.Repeat("x", 1<<20) + `"`)},
	} {
		t.Run(name, func(t *testing.T) {
			slow := h.watchEvents("Counter", &shellpb.WatchEventsRequest{})
			reading := h.watchEvents("Counter", &shellpb.WatchEventsRequest{Events: []string{"none", "changed"}})
			for range 5000 { // more than the libraries and the socket take
				counter.Notify(event)
			}
			expectEnd(slow, codes.ResourceExhausted, 58)
			counter.Notify(shell.Notification{Event: "changed"})
			if e := next(t, reading); e.GetName() != "changed" {
				t.Errorf("got %v", e)
			}
		})
	}
}

// What a call over gRPC causes is told before it is answered, too.
func TestEventsBeforeNativeAnswers(t *testing.T) {
	h := startHost(t)
	heard := make(chan shell.Notification, 1000)
	defer h.host.Supervisor.Listen(ear{heard})()
	for n := range 300 {
		h.increment()
		if got := len(heard); got != n+1 {
			t.Fatalf("call %d was answered after %d events", n+1, got)
		}
	}
}
