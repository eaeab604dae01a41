package native

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/plugins/sdk"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/test/streams"
)

// A call that was delivered and not answered is UNKNOWN with 25, however the plugin ended.
// UNAVAILABLE, which clients repeat, is for calls that no plugin has got.
func TestCallsThatAreNotAnswered(t *testing.T) {
	quick := plugin("Quick", "plugin", true)
	quick.CallTimeout = configs.Duration(100 * time.Millisecond)
	h := startHost(t, quick)
	expect := func(err error, code codes.Code, number int32, data string) {
		t.Helper()
		detail := shellpb.ErrorDetailOf(err)
		if status.Code(err) != code || detail.GetCode() != number || string(detail.GetData()) != data {
			t.Errorf("got %v with %v", err, detail)
		}
	}
	// hang opens a stream that the plugin has got.
	hang := func() (end func() error) {
		t.Helper()
		stream, err := streams.NewStreamsClient(h.client.Conn("Streams")).Hang(h.limited(), &streams.Text{})
		if err == nil {
			_, err = stream.Header()
		}
		if err != nil {
			t.Fatal(err)
		}
		return func() error { return stream.RecvMsg(&streams.Text{}) }
	}

	_, err := shellpb.NewDispatcherClient(h.client.Conn("Streams")).Invoke(h.limited(), &shellpb.InvokeRequest{Method: "die"})
	expect(err, codes.Unknown, sdk.RPCCallFailed, "")
	sh, _ := h.host.Supervisor.Shell("Streams")
	h.eventually("the host notices", func() bool { return sh.State() == shell.Deactivated })
	_, err = streams.NewStreamsClient(h.client.Conn("Streams")).Echo(h.limited(), &streams.Text{})
	expect(err, codes.Unavailable, sdk.Unavailable, "")

	h.must("Streams", shellpb.Operation_OPERATION_ACTIVATE)
	end := hang()
	h.crash()
	expect(end(), codes.Unknown, sdk.RPCCallFailed, "")

	h.must("Streams", shellpb.Operation_OPERATION_ACTIVATE)
	end = hang()
	h.must("Streams", shellpb.Operation_OPERATION_DEACTIVATE)
	expect(end(), codes.Unknown, sdk.RPCCallFailed, "")

	_, err = streams.NewStreamsClient(h.client.Conn("Quick")).Wait(h.limited(), &streams.Number{Number: time.Hour.Milliseconds()})
	expect(err, codes.DeadlineExceeded, sdk.TimedOut, `{"delivered":true}`)
}

// A host that ends tells the callers that it gives up that their calls were delivered.
func TestHostEndsDuringCalls(t *testing.T) {
	h := startHost(t)
	c := streams.NewStreamsClient(h.client.Conn("Streams"))
	stream, err := c.Hang(h.limited(), &streams.Text{})
	if err == nil {
		_, err = stream.Header()
	}
	if err != nil {
		t.Fatal(err)
	}
	unary := make(chan error, 1)
	go func() {
		_, err := c.Wait(h.limited(), &streams.Number{Number: time.Hour.Milliseconds()})
		unary <- err
	}()
	sh, _ := h.host.Supervisor.Shell("Streams")
	h.eventually("both calls run", func() bool { st := sh.UseStatus(); return st.Calls+st.Streams >= 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.host.Communicator.StopServingNative(ctx); err == nil {
		t.Error("it ended without giving up the calls")
	}
	for _, err := range []error{stream.RecvMsg(&streams.Text{}), <-unary} {
		if status.Code(err) != codes.Unknown || shellpb.ErrorDetailOf(err).GetCode() != sdk.RPCCallFailed {
			t.Errorf("got %v with %v", err, shellpb.ErrorDetailOf(err))
		}
	}
}
