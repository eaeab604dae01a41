package flows

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"dormouse/internal/queue"
	"dormouse/shell/shellpb"
)

// service is the gRPC service dormouse.shell.v1.Flows, for one publisher.
type service struct {
	shellpb.UnimplementedFlowsServer
	flows     *Flows
	publisher string // callsign of a plugin, empty for native clients
}

// Service returns the gRPC service for the plugin of that callsign, or with "" for native
// clients.
func (f *Flows) Service(publisher string) shellpb.FlowsServer {
	return service{flows: f, publisher: publisher}
}

// Publish publishes one message.
func (s service) Publish(ctx context.Context, r *shellpb.PublishRequest) (*shellpb.PublishResponse, error) {
	receipt, err := s.flows.Publish(ctx, s.publisher, r.GetFlow(), r.GetMessage())
	if err != nil {
		return nil, asStatus(err)
	}
	return &shellpb.PublishResponse{Id: receipt.ID, Seen: receipt.Seen}, nil
}

// PublishStream publishes each message that arrives and answers it.
func (s service) PublishStream(stream grpc.BidiStreamingServer[shellpb.PublishRequest, shellpb.PublishResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		receipt, err := s.flows.Publish(stream.Context(), s.publisher, r.GetFlow(), r.GetMessage())
		if err := stream.Send(streamAnswer(receipt, err)); err != nil {
			return err
		}
	}
}

// streamAnswer returns the answer to one message of a stream.
func streamAnswer(r queue.Receipt, err error) *shellpb.PublishResponse {
	if err == nil {
		return &shellpb.PublishResponse{Id: r.ID, Seen: r.Seen}
	}
	a := answerTo(err)
	return &shellpb.PublishResponse{
		Error: err.Error(), Code: uint32(a.code), Number: int32(a.number), RetryAfter: uint32(a.retryAfter.Milliseconds()),
	}
}
