package flows

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"dormouse/internal/queue"
	"dormouse/shell/shellpb"
)

// header returns what the queue keeps of a message beside its id and body: the message
// without these two, as protobuf.
func header(m *shellpb.Message) ([]byte, error) {
	return proto.Marshal(&shellpb.Message{Topic: m.GetTopic(), ContentType: m.GetContentType(), Metadata: m.GetMetadata()})
}

// toQueue returns the message as the queue keeps it.
func toQueue(m *shellpb.Message) (queue.Message, error) {
	h, err := header(m)
	return queue.Message{ID: m.GetId(), Header: h, Body: m.GetBody()}, err
}

// fromQueue returns a message that the queue has kept.
func fromQueue(q queue.Message) (*shellpb.Message, error) {
	m := &shellpb.Message{}
	if err := proto.Unmarshal(q.Header, m); err != nil {
		return nil, fmt.Errorf("cannot read the header of the message: %w", err)
	}
	m.Id, m.Body = q.ID, q.Body
	return m, nil
}

// resultID returns the id of the result with that number, from 1, of the flow's work on the
// message with the id parent. It is the same each time that the flow works on the message.
func resultID(parent, flow string, number int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%d", parent, flow, number))
	return hex.EncodeToString(sum[:16])
}

// checkSize returns an ErrTooLarge if the message exceeds a limit of its parts, and an
// ErrInvalid if a part is not text.
func checkSize(m *shellpb.Message) error {
	metadata := 0
	for name, value := range m.GetMetadata() {
		metadata += len(name) + len(value) + 8
	}
	for _, part := range []struct {
		name      string
		size, max int
	}{
		{"id", len(m.GetId()), shellpb.MaxFlowID},
		{"content type", len(m.GetContentType()), shellpb.MaxFlowType},
		{"metadata", metadata, shellpb.MaxFlowMetadata},
		{"body", len(m.GetBody()), shellpb.MaxFlowBody},
	} {
		if part.size > part.max {
			return fmt.Errorf("%w: its %s has %d bytes, and %d are allowed", ErrTooLarge, part.name, part.size, part.max)
		}
	}
	if !utf8.ValidString(m.GetId()) || !utf8.ValidString(m.GetContentType()) {
		return fmt.Errorf("%w: its id and content type must be text", ErrInvalid)
	}
	for name, value := range m.GetMetadata() {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return fmt.Errorf("%w: its metadata must be text", ErrInvalid)
		}
	}
	return nil
}
