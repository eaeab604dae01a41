package communicator

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// frame is one message of a forwarded call. It is neither copied nor decoded.
type frame struct{ data mem.BufferSlice }

// codec is gRPC's codec for protobuf, which leaves frames as they are.
type codec struct{}

var (
	_ encoding.CodecV2 = codec{}

	protobuf = encoding.GetCodecV2(proto.Name)
)

// Size returns the length of the message in bytes, which the shell counts while the
// call is held.
func (f *frame) Size() int { return f.data.Len() }

// Name returns the name of protobuf's codec: clients and plugins send protobuf.
func (codec) Name() string { return proto.Name }

// Marshal returns the data of a frame and leaves the frame empty: gRPC frees the
// frame's reference to the data, see encoding.CodecV2. Other values are marshaled as
// protobuf.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		data := f.data
		f.data = nil
		return data, nil
	}
	return protobuf.Marshal(v)
}

// Unmarshal stores the data in a frame, which takes a reference to the data. Other
// values are unmarshaled from protobuf.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		data.Ref()
		f.data = data
		return nil
	}
	return protobuf.Unmarshal(data, v)
}
