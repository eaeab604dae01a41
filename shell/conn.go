package shell

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Conn is a connection to the plugin's gRPC services on which every call meets
// what Invoke meets: it is refused, held or delivered as the instance's state
// says. Unary calls are bounded by the call timeout; streams are not, and are
// given up when the instance is hibernated or ends. It is nil for a backend that
// serves no gRPC.
func (s *Shell) Conn() grpc.ClientConnInterface {
	connector, ok := s.backend.(Connector)
	if !ok {
		return nil
	}
	return conn{s, connector.Conn()}
}

// conn is an admitted connection.
type conn struct {
	s  *Shell
	to grpc.ClientConnInterface
}

func (c conn) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return c.s.call(ctx, func(ctx context.Context) error { return c.to.Invoke(ctx, method, args, reply, opts...) })
}

func (c conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	admission, cancel := context.WithTimeout(ctx, time.Duration(c.s.Config().CallTimeout))
	end, err := c.s.admit(admission)
	cancel()
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithCancel(ctx)
	given := context.AfterFunc(end, cancel)
	leave := sync.OnceFunc(func() {
		given()
		cancel()
		c.s.flight.leave()
	})
	under, err := c.to.NewStream(ctx, desc, method, opts...)
	if err != nil {
		leave()
		return nil, err
	}
	context.AfterFunc(ctx, leave)
	return &stream{under, leave}, nil
}

// stream leaves the flight when it has ended.
type stream struct {
	grpc.ClientStream
	leave func()
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil {
		s.leave()
	}
	return err
}

func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err != nil && !errors.Is(err, io.EOF) { // at EOF, RecvMsg tells why
		s.leave()
	}
	return err
}
