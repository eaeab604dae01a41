package shell

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Conn returns a connection to the plugin's gRPC services, or nil for a built-in. Every
// call on it is admitted like a call of Invoke: refused, held or delivered by the state of
// the instance; probes (health, Exists) are never held. Unary calls end with the call
// timeout. Streams have no time limit; they end with ErrHibernated when the instance is
// hibernated and with ErrUnavailable when it is stopped.
func (s *Shell) Conn() grpc.ClientConnInterface {
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
	if isProbeMethod(method) {
		return c.s.callAsProbe(ctx, send)
	}
	return c.s.admitAndCallPlugin(ctx, messageSize(args), send)
}

// NewStream admits a stream and opens it, see grpc.ClientConnInterface. The stream counts
// as in flight until it ends or ctx does; its end counts as use of the plugin, unless the
// method is a probe.
func (c admittedConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	end, err := c.s.admitStream(ctx, method)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	forget := context.AfterFunc(end, cancel)
	leave := sync.OnceFunc(func() {
		forget()
		cancel()
		if !isProbeMethod(method) {
			c.s.noteUse()
		}
		c.s.inFlight.leaveStream()
	})
	under, err := c.to.NewStream(ctx, desc, method, opts...)
	if err != nil {
		leave()
		return nil, streamEndErrorOr(end, err)
	}
	context.AfterFunc(ctx, leave)
	return &admittedStream{under, end, leave, !desc.ServerStreams}, nil
}

// admitStream admits a stream and counts it as in flight. A stream may be held up to the
// call timeout; a stream of a probe method is refused instead. The returned context ends
// when the stream must end.
func (s *Shell) admitStream(ctx context.Context, method string) (end context.Context, err error) {
	if isProbeMethod(method) {
		if _, err := s.enterProbeIfActive(); err != nil {
			return nil, err
		}
		return s.inFlight.turnCallIntoStream(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().CallTimeout))
	defer cancel()
	if _, err := s.admitCallOrWait(ctx, 0); err != nil {
		return nil, err
	}
	return s.inFlight.turnCallIntoStream(), nil
}

// streamEndErrorOr returns why end has ended, if that made the stream fail with err, and
// otherwise err.
func streamEndErrorOr(end context.Context, err error) error {
	if end.Err() != nil && !errors.Is(err, io.EOF) {
		return context.Cause(end)
	}
	return err
}

// admittedStream is a stream that counts as in flight until it ends.
type admittedStream struct {
	grpc.ClientStream
	end    context.Context
	leave  func()
	single bool // the plugin sends one message only
}

// Header returns the header that the plugin sent. An error ends the stream.
func (s *admittedStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err != nil {
		s.leave()
		err = streamEndErrorOr(s.end, err)
	}
	return header, err
}

// RecvMsg receives one message. The stream ends with an error, and after the only message
// if the plugin sends one only. The error is ErrHibernated or ErrUnavailable if the
// instance ended the stream.
func (s *admittedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && !s.single {
		return nil
	}
	s.leave()
	if err == nil {
		return nil
	}
	return streamEndErrorOr(s.end, err)
}

// SendMsg sends one message. After io.EOF the caller gets the error of the stream from
// RecvMsg; any other error ends the stream.
func (s *admittedStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || errors.Is(err, io.EOF) { // after io.EOF, RecvMsg returns the error of the stream
		return err
	}
	s.leave()
	return streamEndErrorOr(s.end, err)
}
