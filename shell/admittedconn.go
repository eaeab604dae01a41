package shell

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
)

// Conn returns a connection to the plugin's gRPC services, or nil for a built-in. Every
// call on it is admitted like a call of Invoke: refused, held or delivered by the state of
// the instance; probes (health, Exists) are never held. Unary calls end with the call
// timeout. Streams have no time limit; they end with ErrHibernated when the instance is
// hibernated and with ErrNotAnswered when it is stopped.
func (s *Shell) Conn() grpc.ClientConnInterface {
	if s.virtual != nil {
		return virtualConn{s}
	}
	if s.process == nil {
		return nil
	}
	return admittedConn{s, s.process.Conn()}
}

// admittedConn is a connection on which a shell admits each call.
type admittedConn struct {
	s  *Shell
	to grpc.ClientConnInterface
}

// Invoke admits a unary call and makes it, see grpc.ClientConnInterface. A call of a probe
// method never waits for the instance or wakes it.
func (c admittedConn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	send := func(ctx context.Context) error { return c.to.Invoke(ctx, method, args, reply, opts...) }
	send, err := c.s.checkedBy(func(now contract) error { return c.s.checkQuestion(now, method, args) }, send)
	if err != nil {
		return err
	}
	if isProbeMethod(method) {
		return c.s.callAsProbe(ctx, send)
	}
	return c.s.admitAndCallPlugin(ctx, messageSize(args), send)
}

// NewStream admits a stream and opens it, see grpc.ClientConnInterface. The stream counts
// as in flight until it ends or ctx does, see admittedStream; its end counts as use of the
// plugin, unless the method is a probe.
func (c admittedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	probe := isProbeMethod(method)
	end, err := c.s.admitStream(ctx, probe)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stream := newAdmittedStream(end, c.s, cancel, !desc.ServerStreams, probe)
	under, err := c.to.NewStream(ctx, desc, method, opts...)
	if err != nil {
		stream.leave()
		if err = stream.endErrorOr(err); errors.Is(err, errEnded) {
			err = errEndedBefore
		}
		return nil, err
	}
	stream.ClientStream = under
	context.AfterFunc(ctx, stream.leave)
	return stream, nil
}

// admitStream admits a stream and counts it as a call in flight. A stream may be held up to
// the call timeout; a probe is refused instead. The returned context ends when the stream
// must end.
func (s *Shell) admitStream(ctx context.Context, probe bool) (end context.Context, err error) {
	if probe {
		return s.enterProbeIfActive()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().CallTimeout))
	defer cancel()
	return s.admitCallOrWait(ctx, 0)
}
