package communicator

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"

	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// numberedRegistrar registers services whose every error carries Thunder's number. gRPC's
// interceptors would not do: a message that can't be read never reaches them.
type numberedRegistrar struct{ grpc.ServiceRegistrar }

// RegisterService registers the service with handlers that number the errors.
func (r numberedRegistrar) RegisterService(d *grpc.ServiceDesc, service any) {
	numbered := *d
	numbered.Methods, numbered.Streams = slices.Clone(d.Methods), slices.Clone(d.Streams)
	for i, m := range d.Methods {
		numbered.Methods[i].Handler = func(service any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
			memory := memoryOfCall(ctx)
			received := receivedBytes{memory: memory}
			defer received.giveBack()
			receive := func(message any) error { return receiveAndDecode(received.counting(decode), message) }
			answer, err := m.Handler(service, ctx, receive, intercept)
			if err == nil {
				answer, err = memory.count(answer)
			}
			return answer, withNumber(err)
		}
	}
	for i, s := range d.Streams {
		numbered.Streams[i].Handler = countingStream(numberedStream(s.Handler))
	}
	r.ServiceRegistrar.RegisterService(&numbered, service)
}

// numberedStream returns the handler of a stream whose every error carries Thunder's number.
func numberedStream(handle grpc.StreamHandler) grpc.StreamHandler {
	return func(service any, stream grpc.ServerStream) error {
		return withNumber(handle(service, decodingStream{stream}))
	}
}

// decodingStream is a stream whose messages the communicator decodes.
type decodingStream struct{ grpc.ServerStream }

// RecvMsg receives one message.
func (s decodingStream) RecvMsg(message any) error {
	return receiveAndDecode(s.ServerStream.RecvMsg, message)
}

// receiveAndDecode receives a frame by receive and decodes it into message, or leaves it in
// message if that is a frame. gRPC itself would answer a message that it can't decode at
// once, without a number.
func receiveAndDecode(receive func(any) error, message any) error {
	var f frame
	if err := receive(&f); err != nil {
		return err
	}
	if f.Size() > shellpb.MaxMessage {
		f.data.Free()
		return errTooLarge
	}
	if raw, ok := message.(*frame); ok {
		raw.data = f.data
		return nil
	}
	defer f.data.Free()
	if err := protobuf.Unmarshal(f.data, message); err != nil {
		return statusWithNumber(thunder.BadRequest, fmt.Sprintf("cannot read the message: %v", err))
	}
	return nil
}
