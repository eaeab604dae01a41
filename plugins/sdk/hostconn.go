package sdk

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// ErrSlept is the error of a call to the host that was under way when the plugin
// was hibernated, or was about to be. The host may have carried the call out.
var ErrSlept = status.Error(codes.Aborted, "the plugin was hibernated before the answer came")

var (
	errNoHost = status.Error(codes.Unavailable, "the host offers its plugins nothing to call")
	errEnded  = status.Error(codes.Unavailable, "the plugin is deinitialized")
)

// hostConn is the connection to the host. It is opened by the first call, closed
// before each sleep and opened again by the first call after it.
type hostConn struct {
	socket string

	mu     sync.Mutex
	dialed *dialedConn   // nil when not connected
	awake  chan struct{} // closed by allowReopeningAfterSleep; nil unless the plugin is about to sleep
	ended  bool
}

var _ grpc.ClientConnInterface = (*hostConn)(nil)

// Invoke calls a unary method of the host or, through it, of another plugin. While the plugin
// is about to sleep it waits for the end of the sleep. A call that a sleep cuts off returns
// ErrSlept.
func (h *hostConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s, err := h.connOnceAwake(ctx)
	if err != nil {
		return err
	}
	return s.errorOrSlept(s.conn.Invoke(ctx, method, args, reply, opts...))
}

// NewStream begins a streaming call of the host or, through it, of another plugin. It waits
// and fails as Invoke does; RecvMsg of a stream that a sleep cuts off returns ErrSlept.
func (h *hostConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := h.connOnceAwake(ctx)
	if err != nil {
		return nil, err
	}
	under, err := s.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, s.errorOrSlept(err)
	}
	return hostStream{under, s}, nil
}

// hostStream is a stream that ends with ErrSlept when the plugin is hibernated.
type hostStream struct {
	grpc.ClientStream
	conn *dialedConn
}

// RecvMsg receives a message. It returns ErrSlept if a sleep cuts the stream off.
func (s hostStream) RecvMsg(m any) error { return s.conn.errorOrSlept(s.ClientStream.RecvMsg(m)) }

// connOnceAwake returns the present connection, or a new one. While the plugin is about to
// sleep it first waits for the end of the sleep, or returns an error when ctx ends.
func (h *hostConn) connOnceAwake(ctx context.Context) (*dialedConn, error) {
	for {
		s, awake, err := h.connIfAwake()
		if awake == nil {
			return s, err
		}
		select {
		case <-awake:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

// connIfAwake returns the present connection, or a new one. While the plugin is about
// to sleep, it returns instead a channel that is closed after the sleep. It returns an error
// after closeForGood, or if there is no socket to connect to.
func (h *hostConn) connIfAwake() (_ *dialedConn, awake <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.ended:
		return nil, nil, errEnded
	case h.socket == "":
		return nil, nil, errNoHost
	case h.awake != nil:
		return nil, h.awake, nil
	case h.dialed == nil:
		h.dialed, err = newDialedConn(h.socket)
	}
	return h.dialed, nil, err
}

// closeForSleep closes the connection: calls under way end with ErrSlept, later calls wait.
// When it returns, no descriptor of the connection is open, and no new one is opened before
// allowReopeningAfterSleep is called.
func (h *hostConn) closeForSleep() {
	h.mu.Lock()
	s := h.dialed
	h.dialed = nil
	if h.awake == nil {
		h.awake = make(chan struct{})
	}
	h.mu.Unlock()
	if s != nil {
		s.closeAndWaitForDials()
	}
}

// allowReopeningAfterSleep lets calls open a connection again, and wakes those that wait.
// It may be called without an earlier closeForSleep.
func (h *hostConn) allowReopeningAfterSleep() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.awake != nil {
		close(h.awake)
		h.awake = nil
	}
}

// closeForGood closes the connection. All later calls, and calls that wait for the end of a
// sleep, fail.
func (h *hostConn) closeForGood() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.closeForSleep()
	h.allowReopeningAfterSleep()
}

// dialedConn is one gRPC connection to the host and its sockets.
type dialedConn struct {
	conn   *grpc.ClientConn
	closed atomic.Bool // set before conn is closed

	mu      sync.Mutex
	dials   sync.WaitGroup
	sockets []net.Conn // of conn; a socket may be closed twice
}

// newDialedConn returns a connection to the host's socket. gRPC dials it at the
// first call.
func newDialedConn(socket string) (*dialedConn, error) {
	s := &dialedConn{}
	conn, err := grpc.NewClient("passthrough:///host",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.dialUnlessClosed(ctx, socket) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)),
		grpc.WithDisableServiceConfig(),
	)
	s.conn = conn
	return s, err
}

// dialUnlessClosed connects to the host's socket, and remembers the connection for
// closeAndWaitForDials. It returns net.ErrClosed after closeAndWaitForDials.
func (s *dialedConn) dialUnlessClosed(ctx context.Context, socket string) (net.Conn, error) {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		return nil, net.ErrClosed
	}
	s.dials.Add(1)
	s.mu.Unlock()
	defer s.dials.Done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = append(s.sockets, conn)
	return conn, nil
}

// closeAndWaitForDials closes the connection and its sockets, which may still be open
// when the Close of gRPC returns. It waits for dials under way.
func (s *dialedConn) closeAndWaitForDials() {
	s.mu.Lock()
	s.closed.Store(true)
	s.mu.Unlock()
	_ = s.conn.Close()
	s.dials.Wait()
	for _, socket := range s.sockets {
		_ = socket.Close()
	}
}

// errorOrSlept returns the error of a call on the connection, or ErrSlept if the call failed
// because the connection was closed. nil stays nil.
func (s *dialedConn) errorOrSlept(err error) error {
	code := status.Code(err)
	if err != nil && s.closed.Load() && (code == codes.Canceled || code == codes.Unavailable) {
		return ErrSlept
	}
	return err
}
