package sdk

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// Message is what flows carry.
type Message struct {
	// ID is at most 256 bytes long. A flow that was given a message with the same ID within a
	// day accepts the message and does nothing. If ID is empty the host makes one.
	ID string
	// Topic is where a message came from, and where a result is to go; it may be empty if the
	// flow gives one topic only. Publish ignores it, except for a source that gives several
	// topics and that the message comes from.
	Topic string
	// ContentType is a media type, such as "application/json"; it may be empty.
	ContentType string
	// Metadata has at most 60 KiB: names and values, and 8 bytes for each pair.
	Metadata map[string]string
	// Body has at most 1 MiB.
	Body []byte
}

// Process calls the plugin's Process. It fails with Unavailable before Initialize and after
// Deinitialize.
func (s *server) Process(ctx context.Context, r *shellpb.ProcessRequest) (*shellpb.ProcessResponse, error) {
	if !s.initialized.Load() {
		return nil, status.Error(codes.Unavailable, "the plugin is not initialized")
	}
	ctx = withVirtual(ctx, s.virtualNamed(r.GetCallsign()))
	results, err := s.flows.Process(ctx, r.GetFlow(), messageFromWire(r.GetMessage()))
	if err != nil {
		return nil, statusFromProcessError(err)
	}
	answer := &shellpb.ProcessResponse{}
	for _, m := range results {
		answer.Messages = append(answer.Messages, m.toWire())
	}
	return answer, nil
}

// statusFromProcessError returns the error of Process as a gRPC status, with the code that
// says what the host does with the message.
func statusFromProcessError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == Unavailable {
		return shellpb.ErrorWithDetail(codes.Unavailable, err.Error(), &shellpb.Error{Code: Unavailable})
	}
	return statusFromError(err)
}

// messageFromWire returns the message as the plugin gets it.
func messageFromWire(m *shellpb.Message) Message {
	return Message{
		ID: m.GetId(), Topic: m.GetTopic(), ContentType: m.GetContentType(),
		Metadata: m.GetMetadata(), Body: m.GetBody(),
	}
}

// toWire returns the message as the host gets it.
func (m Message) toWire() *shellpb.Message {
	return &shellpb.Message{
		Id: m.ID, Topic: m.Topic, ContentType: m.ContentType,
		Metadata: m.Metadata, Body: m.Body,
	}
}
