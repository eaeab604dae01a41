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

// conn is a connection to a Plugin in memory. It answers health checks with SERVING.
type conn struct{ p *Plugin }

// Invoke counts as a call of the plugin and answers at once.
func (c conn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if health, ok := reply.(*healthpb.HealthCheckResponse); ok {
		health.Status = healthpb.HealthCheckResponse_SERVING
	}
	_, err := c.p.Invoke(ctx, shell.Call{})
	return err
}

// NewStream is recorded as the step OpenStream.
func (c conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.p.runStep(ctx, OpenStream, ""); err != nil {
		return nil, err
	}
	return &stream{ctx: ctx, exitError: c.p.exitError, closed: make(chan struct{})}, nil
}

// stream is a stream that ends when the client closes it or its context ends.
type stream struct {
	grpc.ClientStream // nil: the other methods are never called
	ctx               context.Context
	exitError         func() error
	closed            chan struct{}
}

func (s *stream) CloseSend() error {
	close(s.closed)
	return nil
}

func (s *stream) SendMsg(any) error { return errors.Join(s.ctx.Err(), s.exitError()) }

func (s *stream) Header() (metadata.MD, error) { return nil, errors.Join(s.ctx.Err(), s.exitError()) }

// RecvMsg returns at once if m is true, and otherwise at the end of the stream.
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
