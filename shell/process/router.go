package process

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// router is a connection that stays while the one behind it comes and goes.
type router struct {
	conn atomic.Pointer[grpc.ClientConn]
}

var _ grpc.ClientConnInterface = (*router)(nil)

// set puts conn behind the router, or nothing when it is nil.
func (r *router) set(conn *grpc.ClientConn) { r.conn.Store(conn) }

func (r *router) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn := r.conn.Load()
	if conn == nil {
		return errNotConnected
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

func (r *router) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn := r.conn.Load()
	if conn == nil {
		return nil, errNotConnected
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

var errNotConnected = status.Error(codes.Unavailable, "the plugin is not connected")
