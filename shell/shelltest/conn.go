package shelltest

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/shell"
)

// conn is a connection to a Plugin, which serves.
type conn struct{ p *Plugin }

func (c conn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if health, ok := reply.(*healthpb.HealthCheckResponse); ok {
		health.Status = healthpb.HealthCheckResponse_SERVING
	}
	_, err := c.p.Invoke(ctx, shell.Call{})
	return err
}

func (c conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.p.at(ctx, OpenStream, ""); err != nil {
		return nil, err
	}
	return &stream{ctx: ctx, up: c.p.up, closed: make(chan struct{})}, nil
}

type stream struct {
	grpc.ClientStream // nil: the other methods are never called
	ctx               context.Context
	up                func() error
	closed            chan struct{}
}

func (s *stream) CloseSend() error {
	close(s.closed)
	return nil
}

func (s *stream) SendMsg(any) error { return errors.Join(s.ctx.Err(), s.up()) }

func (s *stream) Header() (metadata.MD, error) { return nil, errors.Join(s.ctx.Err(), s.up()) }

// RecvMsg answers true at once, and otherwise waits for the end.
func (s *stream) RecvMsg(m any) error {
	if m == true {
		return nil
	}
	select {
	case <-s.closed:
		return io.EOF
	case <-s.ctx.Done():
		return status.FromContextError(s.ctx.Err()).Err()
	}
}
