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

// Invoke counts as a call of the plugin with an empty index and answers at once, unless a
// test holds the call.
func (c conn) Invoke(ctx context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	if health, ok := reply.(*healthpb.HealthCheckResponse); ok {
		health.Status = healthpb.HealthCheckResponse_SERVING
	}
	_, err := c.p.Invoke(ctx, shell.Call{})
	return err
}

// NewStream is recorded as the action OpenStream.
func (c conn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if err := c.p.runAction(ctx, OpenStream, ""); err != nil {
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

// CloseSend ends the stream.
func (s *stream) CloseSend() error {
	close(s.closed)
	return nil
}

// SendMsg drops the message. It fails once the context or the plugin's process has ended.
func (s *stream) SendMsg(any) error { return errors.Join(s.ctx.Err(), s.exitError()) }

// Header returns no metadata. It fails once the context or the plugin's process has ended.
func (s *stream) Header() (metadata.MD, error) { return nil, errors.Join(s.ctx.Err(), s.exitError()) }

// Trailer returns no metadata.
func (s *stream) Trailer() metadata.MD { return nil }

// RecvMsg waits for the end of the stream: it returns io.EOF after CloseSend, and a gRPC
// status when the context ends. A test that wants a message passes true for m; RecvMsg then
// returns nil at once.
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
