package flows

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"dormouse/internal/queue"
	"dormouse/shell"
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

// publisherOf returns the callsign of the plugin or virtual plugin that makes the call, empty for
// native clients.
func (s service) publisherOf(ctx context.Context) string {
	return cmp.Or(shell.CallerOf(ctx), s.publisher)
}

// Publish publishes one message.
func (s service) Publish(ctx context.Context, r *shellpb.PublishRequest) (*shellpb.PublishResponse, error) {
	receipt, err := s.flows.Publish(ctx, s.publisherOf(ctx), r.GetFlow(), r.GetMessage())
	if err != nil {
		return nil, asStatus(err)
	}
	return &shellpb.PublishResponse{Id: receipt.ID, Seen: receipt.Seen}, nil
}

// maxUnderWay is how many messages of one stream are under way at once.
const maxUnderWay = 256

// PublishStream publishes each message that arrives, and answers it once it is on disk. Messages
// for one flow enter its queue in the order of their arrival.
func (s service) PublishStream(stream grpc.BidiStreamingServer[shellpb.PublishRequest, shellpb.PublishResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	underWay := make(chan chan *shellpb.PublishResponse, maxUnderWay)
	var publishing, answering sync.WaitGroup
	var sendError error
	answering.Go(func() {
		for answer := range underWay {
			if r := <-answer; sendError == nil {
				if sendError = stream.Send(r); sendError != nil {
					cancel()
				}
			}
		}
	})
	var receiveError error
	for ctx.Err() == nil {
		var r *shellpb.PublishRequest
		if r, receiveError = stream.Recv(); receiveError != nil {
			break
		}
		wait := s.flows.publishInOrder(ctx, s.publisherOf(ctx), r.GetFlow(), r.GetMessage())
		answer := make(chan *shellpb.PublishResponse, 1)
		publishing.Go(func() { answer <- streamAnswer(wait()) })
		underWay <- answer
	}
	close(underWay)
	publishing.Wait()
	answering.Wait()
	if errors.Is(receiveError, io.EOF) {
		receiveError = nil
	}
	return cmp.Or(sendError, receiveError)
}

// streamAnswer returns the answer to one message of a stream.
func streamAnswer(r queue.Receipt, err error) *shellpb.PublishResponse {
	if err == nil {
		return &shellpb.PublishResponse{Id: r.ID, Seen: r.Seen}
	}
	a := answers.To(err)
	return &shellpb.PublishResponse{
		Error: err.Error(), Code: uint32(a.Code), Number: int32(a.Number), RetryAfter: uint32(a.RetryAfter.Milliseconds()),
	}
}
