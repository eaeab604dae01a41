package native

import (
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
