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

// Conn is a connection to the plugin's gRPC services on which every call meets
// what Invoke meets: it is refused, held or delivered as the instance's state
// says. Unary calls are bounded by the call timeout; streams are not, and end
// with ErrHibernated when the instance is hibernated, with ErrUnavailable when it
// ends. It is nil for a backend that
// serves no gRPC.
func (s *Shell) Conn() grpc.ClientConnInterface {
	if s.process == nil {
		return nil
	}
	return conn{s, s.process.Conn()}
}

// conn is an admitted connection.
type conn struct {
	s  *Shell
	to grpc.ClientConnInterface
}

func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	if isProbe(method) {
		return c.s.callWithoutUse(ctx, func(ctx context.Context) error { return c.to.Invoke(ctx, method, args, reply, opts...) })
	}
	return c.s.callPlugin(ctx, messageSize(args), func(ctx context.Context) error { return c.to.Invoke(ctx, method, args, reply, opts...) })
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	end, err := c.s.admitStream(ctx, method)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	given := context.AfterFunc(end, cancel)
	leave := sync.OnceFunc(func() {
		given()
		cancel()
		if !isProbe(method) {
			c.s.noteUse()
		}
		c.s.inFlight.leaveStream()
	})
	under, err := c.to.NewStream(ctx, desc, method, opts...)
	if err != nil {
		leave()
		return nil, endCause(end, err)
	}
	context.AfterFunc(ctx, leave)
	return &stream{under, end, leave, !desc.ServerStreams}, nil
}

// admitStream lets a stream in, for which it may wait as long as a call may take.
// The context it returns ends when the stream is to end.
func (s *Shell) admitStream(ctx context.Context, method string) (context.Context, error) {
	if isProbe(method) {
		if end, state := s.enterIfActive(); end == nil {
			return nil, notActiveError(state)
		}
		return s.inFlight.becomeStream(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().CallTimeout))
	defer cancel()
	if _, err := s.admit(ctx, 0); err != nil {
		return nil, err
	}
	return s.inFlight.becomeStream(), nil
}

// endCause is err, or what ended the streams if that is its cause.
func endCause(end context.Context, err error) error {
	if end.Err() != nil && !errors.Is(err, io.EOF) {
		return context.Cause(end)
	}
	return err
}

// stream leaves the flight when it has ended.
type stream struct {
	grpc.ClientStream
	end    context.Context
	leave  func()
	single bool // one message is all that it receives
}

func (s *stream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	if err != nil {
		s.leave()
		err = endCause(s.end, err)
	}
	return header, err
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil && !s.single {
		return nil
	}
	s.leave()
	if err == nil {
		return nil
	}
	return endCause(s.end, err)
}

func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || errors.Is(err, io.EOF) { // at EOF, RecvMsg tells why
		return err
	}
	s.leave()
	return endCause(s.end, err)
}
