package native

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
	"dormouse/test/streams"
)

// Every error has Thunder's number, whichever part of the host or of gRPC made it.
func TestEveryErrorHasANumber(t *testing.T) {
	h := startHost(t)
	conn := dial(t, h.socket())
	about := func(callsign string) context.Context {
		return metadata.AppendToOutgoingContext(h.limited(), shellpb.CallsignKey, callsign)
	}
	tooLarge := strings.Repeat("x", shellpb.MaxMessage)
	unlimited := grpc.MaxCallSendMsgSize(4 * shellpb.MaxMessage)
	stream := func(ctx context.Context, method string, messages ...any) error {
		s, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method, unlimited)
		for _, m := range messages {
			if err == nil {
				err = s.SendMsg(m)
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return s.RecvMsg(&streams.Text{})
	}
	for _, test := range []struct {
		name   string
		err    error
		code   codes.Code
		number int32
	}{
		{"unknown method of the host", conn.Invoke(h.limited(), "/dormouse.controller.v1.Controller/Nap", &streams.Text{}, &streams.Text{}), codes.Unimplemented, 53},
		{"unknown method of the host about an instance", conn.Invoke(about("Streams"), "/dormouse.shell.v1.Shell/Nap", &streams.Text{}, &streams.Text{}), codes.Unimplemented, 53},
		{"unknown service of a plugin", conn.Invoke(about("Streams"), "/no.such.Service/Do", &streams.Text{}, &streams.Text{}), codes.Unimplemented, 53},
		{"unknown method of a plugin", stream(about("Streams"), "/dormouse.test.streams.v1.Streams/Nap", &streams.Text{}), codes.Unimplemented, 53},
		{"unknown JSON-RPC method", second(shellpb.NewDispatcherClient(conn).Invoke(about("Streams"), &shellpb.InvokeRequest{Method: "nap"})), codes.Unimplemented, 53},
		{"a method without a name", conn.Invoke(h.limited(), "/dormouse.shell.v1.Shell/", &streams.Text{}, &streams.Text{}), codes.Unimplemented, 53},
		{"too large for the host", second(controllerpb.NewControllerClient(conn).Configure(h.limited(), &controllerpb.ConfigureRequest{Configuration: []byte(tooLarge)}, unlimited)), codes.ResourceExhausted, 16},
		{"too large for a plugin", second(streams.NewStreamsClient(h.client.Conn("Streams")).Echo(h.limited(), &streams.Text{Text: tooLarge}, unlimited)), codes.ResourceExhausted, 16},
		{"too large in a stream", stream(about("Streams"), streams.Streams_Chat_FullMethodName, &streams.Text{Text: tooLarge}), codes.ResourceExhausted, 16},
		{"details of a plugin's own", second(streams.NewStreamsClient(conn).Echo(about("Streams"), &streams.Text{Status: int32(codes.DataLoss)})), codes.DataLoss, 0},
		{"not a message", conn.Invoke(about("Streams"), shellpb.Shell_Operate_FullMethodName, &streams.Text{Text: "\xff"}, &streams.Text{}, grpc.ForceCodec(nonsense{})), codes.InvalidArgument, 30},
		{"unknown health", second(grpc_health_v1.NewHealthClient(conn).Check(h.limited(), &grpc_health_v1.HealthCheckRequest{Service: "Nobody"})), codes.NotFound, 22},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status.Code(test.err) != test.code || shellpb.ErrorDetailOf(test.err).GetCode() != test.number {
				t.Errorf("got %v with %v", test.err, status.Convert(test.err).Details())
			}
		})
	}
	t.Run("a plugin's own status", func(t *testing.T) {
		join, err := streams.NewStreamsClient(conn).Join(about("Streams"))
		if err != nil {
			t.Fatal(err)
		}
		if err := join.Send(&streams.Text{Status: int32(codes.OutOfRange)}); err != nil {
			t.Fatal(err)
		}
		err = join.RecvMsg(&streams.Text{})
		if status.Code(err) != codes.OutOfRange || shellpb.ErrorDetailOf(err).GetCode() != 45 {
			t.Errorf("got %v with %v", err, status.Convert(err).Details())
		}
	})
}

// nonsense sends what no message is.
type nonsense struct{}

func (nonsense) Marshal(any) ([]byte, error) { return []byte("\xff\xff\xff"), nil }
func (nonsense) Unmarshal([]byte, any) error { return nil }
func (nonsense) Name() string                { return "proto" }
