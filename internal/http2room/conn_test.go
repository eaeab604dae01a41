package http2room

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// newServer starts a gRPC server whose method Echo answers with what it is sent.
func newServer(t *testing.T, wrap func(net.Conn) net.Conn) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(16<<20), grpc.MaxSendMsgSize(16<<20), grpc.InitialWindowSize(window), grpc.InitialConnWindowSize(1<<20))
	handle := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var asked wrapperspb.BytesValue
		if err := decode(&asked); err != nil {
			return nil, err
		}
		return wrapperspb.Bytes(asked.GetValue()), nil
	}
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.S", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: handle}}}, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(wrapping{l, wrap}) // Stop ends it
	}()
	t.Cleanup(func() { s.Stop(); <-done })
	return path
}

// wrapping is a listener that wraps what it accepts.
type wrapping struct {
	net.Listener
	wrap func(net.Conn) net.Conn
}

func (w wrapping) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return w.wrap(conn), nil
}

// dial returns a client of the server.
func dial(t *testing.T, path string, wrap func(net.Conn) net.Conn) *grpc.ClientConn {
	t.Helper()
	dialer := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
	conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dialer),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func plain(c net.Conn) net.Conn { return c }

// Long messages, of a server and of a client, come through whole, however many are sent at
// the same time, and never take more than the room. Short ones pass them by.
func TestLongMessagesComeOneAfterTheOther(t *testing.T) {
	for name, wraps := range map[string]func(*Room) (client, server func(net.Conn) net.Conn){
		"to a client": func(r *Room) (_, _ func(net.Conn) net.Conn) {
			return func(c net.Conn) net.Conn { return NewClientConn(c, r) }, plain
		},
		"to a server": func(r *Room) (_, _ func(net.Conn) net.Conn) {
			return plain, func(c net.Conn) net.Conn { return NewServerConn(c, r) }
		},
		"both": func(r *Room) (_, _ func(net.Conn) net.Conn) {
			return func(c net.Conn) net.Conn { return NewClientConn(c, r) }, func(c net.Conn) net.Conn { return NewServerConn(c, NewRoom(r.size, nil)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRoom(5<<20, nil)
			onClient, onServer := wraps(r)
			path := newServer(t, onServer)
			var all sync.WaitGroup
			for i := range 3 {
				conn := dial(t, path, onClient)
				for j := range 8 {
					all.Go(func() {
						want := bytes.Repeat([]byte{byte(i), byte(j)}, (2<<20-i*1000-j)/2)
						if j == 7 {
							want = []byte("short")
						}
						var got wrapperspb.BytesValue
						if err := conn.Invoke(t.Context(), "/test.S/Echo", wrapperspb.Bytes(want), &got); err != nil || !bytes.Equal(got.GetValue(), want) {
							t.Errorf("%d bytes, %v", len(got.GetValue()), err)
						}
						r.mu.Lock()
						defer r.mu.Unlock()
						if r.taken > r.size {
							t.Errorf("%d bytes are taken of %d", r.taken, r.size)
						}
					})
				}
			}
			all.Wait()
			late := time.After(10 * time.Second)
			for left := int64(1); left > 0; {
				r.mu.Lock()
				left = r.taken + int64(len(r.waiting))
				r.mu.Unlock()
				select {
				case <-late:
					t.Fatalf("%d bytes are taken or messages wait", left)
				case <-time.After(time.Millisecond):
				}
			}
		})
	}
}

// frame returns a frame of HTTP/2.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	f := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	return append(binary.BigEndian.AppendUint32(f, stream), payload...)
}

func update(stream, size uint32) []byte {
	return frame(typeWindowUpdate, 0, stream, binary.BigEndian.AppendUint32(nil, size))
}

// However gRPC cuts what it writes, updates without room are taken out of it and come between
// two frames once there is room.
func TestUpdatesAreHeldBack(t *testing.T) {
	const long = 1 << 20
	data := frame(typeData, 0, 1, bytes.Repeat([]byte("d"), 50))
	written := bytes.Join([][]byte{data, update(0, long), update(1, 100), update(1, long), data, update(3, long), data, frame(0x4, 1, 0, nil)}, nil)
	want := bytes.Join([][]byte{data, update(0, long), update(1, 100), update(1, long), data, data, frame(0x4, 1, 0, nil), update(3, long)}, nil)
	for piece := 1; piece <= len(written); piece++ {
		near, far := net.Pipe()
		r := NewRoom(long, nil)
		c := NewClientConn(near, r)
		c.writer.skip = 0 // as after the preface
		got := make(chan []byte)
		go func() {
			all := make([]byte, len(want))
			_, _ = io.ReadFull(far, all)
			got <- all
		}()
		for rest := written; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if n, err := c.Write(rest[:min(piece, len(rest))]); err != nil || n != min(piece, len(rest)) {
				t.Fatal(n, err)
			}
		}
		c.room.endStream(c, 1)
		if all := <-got; !bytes.Equal(all, want) {
			t.Fatalf("in pieces of %d: wrote %x, want %x", piece, all, want)
		}
		if err := c.Close(); err != nil || r.taken != 0 || len(r.waiting) != 0 {
			t.Errorf("%v, %d bytes are taken", err, r.taken)
		}
		_ = far.Close()
	}
}

// A connection whose long message does not arrive is closed once another has waited for it.
func TestStalledMessageGivesWay(t *testing.T) {
	const long = 1 << 20
	admitted := make(chan int64, 2)
	r := NewRoom(long, func(taken int64) { admitted <- taken })
	r.stallTime = 10 * time.Millisecond
	pipe := func() *Conn {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		t.Cleanup(func() { _ = far.Close() })
		c := NewServerConn(near, r)
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first, second := pipe(), pipe()
	for _, c := range []*Conn{first, second} {
		if _, err := c.Write(update(1, long)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the first message, and the second after its stall
		if taken := <-admitted; taken != long {
			t.Errorf("%d bytes are taken, want %d", taken, long)
		}
	}
	if _, err := first.Write(update(0, 1)); err == nil {
		t.Error("the stalled connection is open")
	}
}
