package sdk

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// ErrSlept is what a call to the host ends with when the plugin is hibernated
// before the answer comes, or was about to be. The call may have been carried
// out.
var ErrSlept = status.Error(codes.Aborted, "the plugin was hibernated before the answer came")

var (
	errNoHost = status.Error(codes.Unavailable, "the host offers its plugins nothing to call")
	errEnded  = status.Error(codes.Unavailable, "the plugin is deinitialized")
)

// line is the way to the host: a connection that is made when it is first
// needed, again after each sleep, and never while the plugin is going to sleep.
type line struct {
	socket string

	mu      sync.Mutex
	session *session      // nil when there is no connection
	awake   chan struct{} // closed by wake; nil unless the plugin is going to sleep
	ended   bool
}

var _ grpc.ClientConnInterface = (*line)(nil)

// Invoke implements grpc.ClientConnInterface.
func (l *line) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s, err := l.open(ctx)
	if err != nil {
		return err
	}
	return s.because(s.conn.Invoke(ctx, method, args, reply, opts...))
}

// NewStream implements grpc.ClientConnInterface.
func (l *line) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := l.open(ctx)
	if err != nil {
		return nil, err
	}
	under, err := s.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, s.because(err)
	}
	return stream{under, s}, nil
}

// stream says so when it ended for a sleep.
type stream struct {
	grpc.ClientStream
	session *session
}

func (s stream) RecvMsg(m any) error { return s.session.because(s.ClientStream.RecvMsg(m)) }

// open returns the connection. It waits for the end of a sleep.
func (l *line) open(ctx context.Context) (*session, error) {
	for {
		s, awake, err := l.present()
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

func (l *line) present() (_ *session, awake <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return nil, nil, errEnded
	case l.socket == "":
		return nil, nil, errNoHost
	case l.awake != nil:
		return nil, l.awake, nil
	case l.session == nil:
		l.session, err = dialSession(l.socket)
	}
	return l.session, nil, err
}

// sleep closes the connection; when it returns no descriptor of it is open, and
// none will be until wake.
func (l *line) sleep() {
	l.mu.Lock()
	s := l.session
	l.session = nil
	if l.awake == nil {
		l.awake = make(chan struct{})
	}
	l.mu.Unlock()
	if s != nil {
		s.close()
	}
}

// wake lets calls through again. It may be called without a sleep before it.
func (l *line) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.awake != nil {
		close(l.awake)
		l.awake = nil
	}
}

// end closes the line for good.
func (l *line) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.sleep()
	l.wake()
}

// session is one connection to the host.
type session struct {
	conn *grpc.ClientConn
	over chan struct{} // closed before the connection is

	mu      sync.Mutex
	dialing sync.WaitGroup
	sockets []net.Conn // that were dialed; closing one twice does no harm
}

// dialSession makes no connection yet: gRPC dials with the first call.
func dialSession(socket string) (*session, error) {
	s := &session{over: make(chan struct{})}
	conn, err := grpc.NewClient("passthrough:///host",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return s.dial(ctx, socket) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(shellpb.MaxMessage), grpc.MaxCallSendMsgSize(shellpb.MaxMessage)),
		grpc.WithDisableServiceConfig(),
	)
	s.conn = conn
	return s, err
}

func (s *session) dial(ctx context.Context, socket string) (net.Conn, error) {
	if !s.begin() {
		return nil, net.ErrClosed
	}
	defer s.dialing.Done()
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

// begin counts a dial unless the session is over.
func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOver() {
		return false
	}
	s.dialing.Add(1)
	return true
}

// close does not trust gRPC to have closed the sockets when its Close returns.
func (s *session) close() {
	s.mu.Lock()
	close(s.over)
	s.mu.Unlock()
	_ = s.conn.Close()
	s.dialing.Wait()
	for _, socket := range s.sockets {
		_ = socket.Close()
	}
}

func (s *session) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// because is err, or ErrSlept if the end of the session is behind it.
func (s *session) because(err error) error {
	code := status.Code(err)
	if err != nil && s.isOver() && (code == codes.Canceled || code == codes.Unavailable) {
		return ErrSlept
	}
	return err
}
