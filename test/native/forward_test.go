package native

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/communicator"
	"dormouse/shell/shellpb"
	"dormouse/shell/webpb"
	"dormouse/test/streams"
)

// A call comes out as it would without a host between.
func TestForwardEveryKind(t *testing.T) {
	h := startHost(t)
	// The host's own client says what is unary, others need not.
	t.Run("own client", func(t *testing.T) { h.everyKind(t, h.client.Conn("Streams"), h.limited()) })
	t.Run("plain client", func(t *testing.T) {
		h.everyKind(t, dial(t, h.socket()), metadata.AppendToOutgoingContext(h.limited(), shellpb.CallsignKey, "Streams"))
	})
}

func (h *rig) everyKind(t *testing.T, conn grpc.ClientConnInterface, ctx context.Context) { //nolint:revive // the context belongs to the connection
	t.Helper()
	c := streams.NewStreamsClient(conn)
	large := grpc.MaxCallRecvMsgSize(shellpb.MaxMessage)
	ctx = metadata.AppendToOutgoingContext(ctx, "x-ask", "one", "x-ask", "two")

	t.Run("unary", func(t *testing.T) {
		var header, trailer metadata.MD
		answer, err := c.Echo(ctx, &streams.Text{Text: "hello"}, grpc.Header(&header), grpc.Trailer(&trailer))
		if err != nil || answer.GetText() != "hello" {
			t.Errorf("got %v, %v", answer, err)
		}
		if diff := cmp.Diff([]string{"one", "two"}, header.Get("x-answer")); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"one", "two"}, trailer.Get("x-end")); diff != "" {
			t.Errorf("trailer (-want +got):\n%s", diff)
		}
	})
	t.Run("status with details", func(t *testing.T) {
		in := &streams.Text{Text: "no", Status: int32(codes.DataLoss)}
		var trailer metadata.MD
		_, err := c.Echo(ctx, in, grpc.Trailer(&trailer))
		s := status.Convert(err)
		if s.Code() != codes.DataLoss || s.Message() != "as asked: no" || len(s.Details()) != 1 || !proto.Equal(s.Details()[0].(proto.Message), in) { //nolint:errcheck // a detail is a message
			t.Errorf("got %v with %v", s, s.Details())
		}
		if got := trailer.Get("x-end"); len(got) != 2 {
			t.Errorf("the trailer has %v", got)
		}
	})
	t.Run("client stream", func(t *testing.T) {
		stream, err := c.Join(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "", "c"} {
			if err := stream.Send(&streams.Text{Text: text}); err != nil {
				t.Fatal(err)
			}
		}
		if answer, err := stream.CloseAndRecv(); err != nil || answer.GetText() != "ac" {
			t.Errorf("got %v, %v", answer, err)
		}
	})
	t.Run("client stream that the plugin ends", func(t *testing.T) {
		stream, err := c.Join(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&streams.Text{Status: int32(codes.OutOfRange)}); err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(&streams.Text{}); status.Code(err) != codes.OutOfRange {
			t.Errorf("got %v", err)
		}
	})
	t.Run("server stream", func(t *testing.T) {
		stream, err := c.Split(ctx, &streams.Text{Text: "abc"})
		if err != nil {
			t.Fatal(err)
		}
		if got := rest(t, stream); got != "a b c" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("both", func(t *testing.T) {
		stream, err := c.Chat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"a", "b"} { // each answer before the next question
			if err := stream.Send(&streams.Text{Text: text}); err != nil {
				t.Fatal(err)
			}
			if got, err := stream.Recv(); err != nil || got.GetText() != text {
				t.Fatalf("got %v, %v", got, err)
			}
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if got := rest(t, stream); got != "bye" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("large", func(t *testing.T) {
		text := &streams.Text{Text: strings.Repeat("x", shellpb.MaxMessage-16)}
		if answer, err := c.Echo(ctx, text, large); err != nil || answer.GetText() != text.GetText() {
			t.Errorf("got %d bytes, %v", len(answer.GetText()), err)
		}
		text.Text += strings.Repeat("x", 16)
		_, err := c.Echo(ctx, text, large, grpc.MaxCallSendMsgSize(2*shellpb.MaxMessage))
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("too large a message: %v", err)
		}
	})
}

func rest(t *testing.T, stream grpc.ServerStreamingClient[streams.Text]) string {
	t.Helper()
	var texts []string
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return strings.Join(texts, " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, in.GetText())
	}
}

// A unary call is waited for by a hibernation, also if the client does not say that it is
// one; a stream is not.
func TestForwardUnaryIsWaitedFor(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	plugin, _ := h.host.Supervisor.Shell("Streams")
	for name, conn := range map[string]grpc.ClientConnInterface{
		"own client":   h.client.Conn("Streams"),
		"plain client": plainConn{dial(t, h.socket())},
	} {
		t.Run(name, func(t *testing.T) {
			answered := make(chan error, 1)
			go func() {
				_, err := streams.NewStreamsClient(conn).Wait(h.limited(), &streams.Number{Number: 500})
				answered <- err
			}()
			h.eventually("the call runs", func() bool { return plugin.UseStatus().Calls == 1 })
			h.must("Streams", sleep)
			if err := <-answered; err != nil {
				t.Error(err)
			}
			h.must("Streams", activate)
		})
	}
	t.Run("stream", func(t *testing.T) {
		stream, err := streams.NewStreamsClient(plainConn{dial(t, h.socket())}).Hang(h.limited(), &streams.Text{})
		if err != nil {
			t.Fatal(err)
		}
		h.eventually("it is a stream", func() bool { return plugin.UseStatus().Streams == 1 })
		h.must("Streams", sleep)
		if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition || shellpb.ErrorDetailOf(err).GetCode() != 46 {
			t.Errorf("got %v", err)
		}
	})
}

// plainConn calls Streams as a client does that knows nothing of the host.
type plainConn struct{ *grpc.ClientConn }

func (c plainConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.ClientConn.Invoke(shellpb.WithCallsign(ctx, "Streams"), method, args, reply, opts...)
}

func (c plainConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConn.NewStream(shellpb.WithCallsign(ctx, "Streams"), desc, method, opts...)
}

func TestForwardDeadlineAndCancellation(t *testing.T) {
	h := startHost(t)
	c := streams.NewStreamsClient(h.client.Conn("Streams"))
	limited, cancel := context.WithTimeout(h.limited(), 20*time.Second)
	defer cancel()
	n, err := c.Gone(limited, &streams.Text{})
	if err != nil || n.GetRemaining() > 20_000 || n.GetRemaining() < 1_000 {
		t.Errorf("the plugin sees %v, %v", n, err)
	}

	ctx, cancel := context.WithCancel(h.limited())
	stream, err := c.Hang(ctx, &streams.Text{})
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.Header() // which come before any message
	if err != nil || header.Get("x-hangs") == nil {
		t.Fatalf("got %v, %v", header, err)
	}
	held := communicator.Proxy{Interface: "dormouse.test.streams.v1.Streams", Name: "Streams", Count: 1}
	proxies := h.host.Communicator.Proxies()
	if len(proxies) != 1 || !strings.HasPrefix(proxies[0].Client, "pid ") {
		t.Fatalf("held is %+v", proxies)
	}
	held.Client = proxies[0].Client
	if diff := cmp.Diff([]communicator.Proxy{held}, proxies); diff != "" {
		t.Errorf("held (-want +got):\n%s", diff)
	}
	cancel()
	if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	h.eventually("the plugin notices", func() bool {
		n, err := c.Gone(h.limited(), &streams.Text{})
		return err == nil && n.GetNumber() == 1
	})

	short, cancel := context.WithTimeout(h.limited(), 50*time.Millisecond)
	defer cancel()
	stream, err = c.Hang(short, &streams.Text{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
	h.eventually("the plugin notices", func() bool {
		n, err := c.Gone(h.limited(), &streams.Text{})
		return err == nil && n.GetNumber() == 2
	})
	h.eventually("nothing is held", func() bool { return len(h.host.Communicator.Proxies()) == 0 })
}

func TestForwardRefusals(t *testing.T) {
	h := startHost(t)
	plain := dial(t, h.socket())
	about := func(callsign string) context.Context {
		return metadata.AppendToOutgoingContext(h.limited(), shellpb.CallsignKey, callsign)
	}
	const echo = "/dormouse.test.streams.v1.Streams/Echo"
	for _, test := range []struct {
		name   string
		ctx    context.Context
		method string
		code   codes.Code
		number int32
	}{
		{"no callsign", h.limited(), echo, codes.InvalidArgument, 30},
		{"two callsigns", metadata.AppendToOutgoingContext(about("Streams"), shellpb.CallsignKey, "Streams"), echo, codes.InvalidArgument, 30},
		{"two callsigns for the host", metadata.AppendToOutgoingContext(about("Streams"), shellpb.CallsignKey, "Other"), shellpb.Shell_Status_FullMethodName, codes.InvalidArgument, 30},
		{"unknown callsign", about("Nobody"), echo, codes.NotFound, 22},
		{"not active", about("Other"), echo, codes.Unavailable, 2},
		{"the plugin's end", about("Streams"), shellpb.Plugin_Deinitialize_FullMethodName, codes.PermissionDenied, 24},
		{"its hooks", about("Streams"), shellpb.Hooks_BeforeCheckpoint_FullMethodName, codes.PermissionDenied, 24},
		{"its HTTP", about("Streams"), webpb.Web_Serve_FullMethodName, codes.PermissionDenied, 24},
		{"the host's stream", about("Streams"), shellpb.Dispatcher_Events_FullMethodName, codes.PermissionDenied, 24},
		{"go-plugin's own", about("Streams"), "/plugin.GRPCController/Shutdown", codes.PermissionDenied, 24},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := plain.Invoke(test.ctx, test.method, &streams.Text{}, &streams.Text{})
			if status.Code(err) != test.code || shellpb.ErrorDetailOf(err).GetCode() != test.number {
				t.Errorf("got %v with %v", err, shellpb.ErrorDetailOf(err))
			}
		})
	}
	err := plain.Invoke(about("Streams"), "/no.such.Service/Do", &streams.Text{}, &streams.Text{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a service that the plugin has not: %v", err)
	}
}

// eventually looks every millisecond until is returns true.
func (h *rig) eventually(what string, is func() bool) {
	h.t.Helper()
	late := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			h.t.Fatalf("not in time: %s", what)
		}
	}
}
