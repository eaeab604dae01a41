package communicator

import (
	"context"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"

	"dormouse/plugins/peer"
	"dormouse/plugins/thunder"
	"dormouse/shell/shellpb"
)

// bytesOfCall is the memory of a call under way besides that of its messages.
const bytesOfCall = 16 << 10

// minCounted is the length from which a message to the caller counts.
const minCounted = 4 << 10

var (
	errNoMemoryForCall   = shellpb.ErrorWithDetail(codes.ResourceExhausted, "cannot take the call: "+peer.ErrNoMemory.Error(), &shellpb.Error{Code: int32(thunder.InProgress), Data: thunder.DataOf(peer.ErrNoMemory).JSONOrNil()})
	errNoMemoryForAnswer = statusWithNumber(thunder.RPCCallFailed, "the call was carried out, and an answer dropped: this client has not taken enough of what it was sent")
)

// messageMemory is the memory of the messages on one connection that are on their way. A nil
// *messageMemory has no bounds.
type messageMemory struct {
	share *peer.Share

	mu     sync.Mutex
	taken  int  // bytes
	closed bool // the connection is, and nothing counts any more
}

// take takes the memory of a message until giveBack. It returns an error if
// there is no room.
func (m *messageMemory) take(bytes int) error {
	if err := m.share.Take(bytes); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken += bytes
	return nil
}

// giveBack gives back the memory of a message.
func (m *messageMemory) giveBack(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.taken -= bytes
		m.share.GiveBack(bytes)
	}
}

// close gives back the memory of all messages, which gRPC drops with the connection.
func (m *messageMemory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.share.GiveBack(m.taken)
	m.taken = 0
}

// count returns the message as a frame whose memory is the client's until gRPC frees it. It
// returns an error, and drops the message, if there is no room.
func (m *messageMemory) count(message any) (any, error) {
	f, isFrame := message.(*frame)
	if m == nil {
		return message, nil
	}
	if !isFrame {
		data, err := protobuf.Marshal(message)
		if err != nil {
			return nil, err
		}
		f = &frame{data}
	}
	size := f.Size()
	if size < minCounted {
		return f, nil
	}
	if err := m.take(size); err != nil {
		f.data.Free()
		f.data = nil
		return nil, errNoMemoryForAnswer
	}
	f.data = withFreed(f.data, func() { m.giveBack(size) })
	return f, nil
}

// withFreed returns the data with its last byte in a buffer of its own, which calls freed when
// gRPC frees it. The data must not be empty.
func withFreed(data mem.BufferSlice, freed func()) mem.BufferSlice {
	last := data[len(data)-1]
	all := last.ReadOnlyData()
	end := make([]byte, 1, 2<<10) // gRPC tells the pool of buffers of more than 1 KiB only
	end[0] = all[len(all)-1]
	rest := last.Slice(0, len(all)-1)
	last.Free()
	return append(append(mem.BufferSlice(nil), data[:len(data)-1]...), rest, mem.NewBuffer(&end, freedPool(freed)))
}

// freedPool is a pool of buffers that is called for each that comes back.
type freedPool func()

// Get returns a new buffer.
func (freedPool) Get(length int) *[]byte {
	b := make([]byte, length)
	return &b
}

// Put says that a buffer is not used any more.
func (p freedPool) Put(*[]byte) { p() }

// receivedBytes is the memory of the last message that a call got from its client, until the
// next comes or the call ends.
type receivedBytes struct {
	memory *messageMemory
	bytes  atomic.Int64
}

// counting returns receive with each frame counted. Its error may say that there is no room.
func (r *receivedBytes) counting(receive func(any) error) func(any) error {
	return func(message any) error {
		if err := receive(message); err != nil {
			return err
		}
		r.giveBack()
		f, ok := message.(*frame)
		if !ok || f.Size() < minCounted || r.memory == nil {
			return nil
		}
		if err := r.memory.take(f.Size()); err != nil {
			f.data.Free()
			f.data = nil
			return errNoMemoryForCall
		}
		r.bytes.Store(int64(f.Size()))
		return nil
	}
}

// giveBack gives the memory of the last message back.
func (r *receivedBytes) giveBack() {
	if n := r.bytes.Swap(0); n > 0 {
		r.memory.giveBack(int(n))
	}
}

// countedStream is a call's stream to its client, whose messages take the client's memory:
// those to the client until they were sent.
type countedStream struct {
	grpc.ServerStream
	received receivedBytes
}

// RecvMsg receives one message. The error may say that there is no room for it.
func (s *countedStream) RecvMsg(message any) error {
	return s.received.counting(s.ServerStream.RecvMsg)(message)
}

// SendMsg sends one message. The error may say that the client has too many that it has not
// taken.
func (s *countedStream) SendMsg(message any) error {
	counted, err := s.received.memory.count(message)
	if err != nil {
		return err
	}
	return s.ServerStream.SendMsg(counted)
}

// countingStream returns the handler of a stream whose messages take the client's memory.
func countingStream(handle grpc.StreamHandler) grpc.StreamHandler {
	return func(service any, in grpc.ServerStream) error {
		memory := memoryOfCall(in.Context())
		if memory == nil {
			return handle(service, in)
		}
		counted := &countedStream{ServerStream: in, received: receivedBytes{memory: memory}}
		defer counted.received.giveBack()
		return handle(service, counted)
	}
}

// memoryOfCall returns the memory of the messages of a call's connection, nil if it has no
// bounds.
func memoryOfCall(ctx context.Context) *messageMemory {
	if conn := connectionOfCall(ctx); conn != nil && conn.memory.share != nil {
		return &conn.memory
	}
	return nil
}

// takeMemoryOfCall takes the memory of a new call until ctx ends. It returns an error if there
// is no room.
func (c *connection) takeMemoryOfCall(ctx context.Context) error {
	if c.memory.share == nil {
		return nil
	}
	if c.memory.share.Take(bytesOfCall) != nil {
		return errNoMemoryForCall
	}
	context.AfterFunc(ctx, func() { c.memory.share.GiveBack(bytesOfCall) })
	return nil
}
