package communicator

import (
	"bytes"
	"errors"
	"testing"

	"google.golang.org/grpc/mem"

	"dormouse/plugins/access"
	"dormouse/plugins/peer"
	"dormouse/shell/shellpb"
)

// A message to a client is its memory until gRPC frees the message or the connection ends.
// One too many is dropped with an error.
func TestMessagesTakeTheClientsMemory(t *testing.T) {
	const size = 100 << 10
	share := peer.NewMemory(8<<20, 2*size).Join(access.Client{User: &access.User{UID: 54321}})
	m := &messageMemory{share: share}
	text := bytes.Repeat([]byte("abcdefgh"), size/8)
	count := func() (*frame, error) {
		pieces := mem.BufferSlice{mem.Copy(text[:size/2], mem.DefaultBufferPool()), mem.Copy(text[size/2:], mem.DefaultBufferPool())}
		counted, err := m.count(&frame{pieces})
		f, _ := counted.(*frame)
		return f, err
	}
	first, err := count()
	if err != nil {
		t.Fatal(err)
	}
	if got := first.data.Materialize(); !bytes.Equal(got, text) {
		t.Error("the message has changed")
	}
	if _, err := count(); err != nil {
		t.Errorf("the second: %v", err)
	}
	if _, err := count(); !errors.Is(err, errNoMemoryForAnswer) {
		t.Errorf("the third: %v", err)
	}
	first.data.Free()
	if _, err := m.count(&shellpb.InvokeResponse{Result: text}); err != nil {
		t.Errorf("after one was sent: %v", err)
	}
	m.close()
	if !share.Fits(2 * size) {
		t.Error("the connection has ended, and memory is taken")
	}
	if small, err := m.count(&shellpb.InvokeResponse{Result: []byte("7")}); err != nil || small == nil {
		t.Errorf("a small one: %v", err)
	}
}

// A call's message takes memory until the call ends.
func TestReceivedMessagesTakeTheClientsMemory(t *testing.T) {
	share := peer.NewMemory(8<<20, 100<<10).Join(access.Client{User: &access.User{UID: 54321}})
	r := receivedBytes{memory: &messageMemory{share: share}}
	receive := r.counting(func(m any) error {
		m.(*frame).data = mem.BufferSlice{mem.SliceBuffer(make([]byte, 150<<10))} //nolint:errcheck // it is one
		return nil
	})
	for range 3 { // each takes the place of the one before
		if err := receive(&frame{}); err != nil {
			t.Fatal(err)
		}
	}
	other := receivedBytes{memory: r.memory}
	if err := other.counting(func(m any) error {
		m.(*frame).data = mem.BufferSlice{mem.SliceBuffer(make([]byte, 150<<10))} //nolint:errcheck // it is one
		return nil
	})(&frame{}); !errors.Is(err, errNoMemoryForCall) {
		t.Errorf("beside it: %v", err)
	}
	r.giveBack()
	if !share.Fits(100 << 10) {
		t.Error("memory is missing")
	}
}
