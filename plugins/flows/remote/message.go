package remote

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/queue"
	"dormouse/shell/shellpb"
)

// Headers of a message in a stream. The id is in NATS's own, jetstream.MsgIDHeader.
const (
	contentTypeHeader = "Content-Type"
	metadataHeader    = "Dormouse-Metadata" // as JSON, on one line
)

// toNATS returns the message of a queue as a stream has it.
func toNATS(subject string, m queue.Message) (*nats.Msg, error) {
	var rest shellpb.Message
	if err := proto.Unmarshal(m.Header, &rest); err != nil {
		return nil, fmt.Errorf("cannot read the header of a message: %w", err)
	}
	to := nats.NewMsg(subject)
	to.Data = m.Body
	if rest.GetContentType() != "" {
		to.Header.Set(contentTypeHeader, rest.GetContentType())
	}
	if len(rest.GetMetadata()) > 0 {
		metadata, err := json.Marshal(rest.GetMetadata())
		if err != nil {
			return nil, fmt.Errorf("cannot write the metadata of a message: %w", err)
		}
		to.Header.Set(metadataHeader, string(metadata))
	}
	return to, nil
}

// fromNATS returns a message of a stream as flows have it. One that another program has
// published gets its id from its place in the stream, if it has none, and metadata from its
// headers.
func fromNATS(m jetstream.Msg) (*shellpb.Message, error) {
	place, err := m.Metadata()
	if err != nil {
		return nil, fmt.Errorf("cannot read where in its stream a message is: %w", err)
	}
	headers := m.Headers()
	message := &shellpb.Message{
		Id:          headers.Get(jetstream.MsgIDHeader),
		ContentType: headers.Get(contentTypeHeader),
		Metadata:    make(map[string]string),
		Body:        m.Data(),
	}
	if message.Id == "" {
		message.Id = fmt.Sprintf("%s:%d", place.Stream, place.Sequence.Stream)
	}
	if own := headers.Get(metadataHeader); own != "" && json.Unmarshal([]byte(own), &message.Metadata) == nil {
		return message, nil
	}
	for name := range headers {
		if name != contentTypeHeader && name != metadataHeader && !strings.HasPrefix(name, "Nats-") {
			message.Metadata[name] = headers.Get(name)
		}
	}
	return message, nil
}
