package communicator

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// frame is one message of a call that is passed on: neither copied nor decoded.
type frame struct{ data mem.BufferSlice }

// codec takes frames for what they are and everything else for protobuf.
type codec struct{}

var (
	_ encoding.CodecV2 = codec{}

	protobuf = encoding.GetCodecV2(proto.Name)
)

// Size is what it takes while it waits for the plugin.
func (f *frame) Size() int { return f.data.Len() }

// Name is protobuf's: what is passed on is what clients and plugins sent.
func (codec) Name() string { return proto.Name }

// Marshal gives the frame's reference to the data away, see grpc.ClientStream.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		data := f.data
		f.data = nil
		return data, nil
	}
	return protobuf.Marshal(v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	if f, ok := v.(*frame); ok {
		data.Ref()
		f.data = data
		return nil
	}
	return protobuf.Unmarshal(data, v)
}
