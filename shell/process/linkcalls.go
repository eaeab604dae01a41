package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"dormouse/internal/timelimit"
	"dormouse/shell"
)

// linkConn is a connection of a link that reports when it is lost or closed, before gRPC
// ends the calls on it.
type linkConn struct {
	net.Conn
	noteLoss func() // may be called again
}

// Read reads from the connection.
func (c *linkConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		c.noteLoss()
	}
	return n, err
}

// Write writes to the connection.
func (c *linkConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		c.noteLoss()
	}
	return n, err
}

// Close closes the connection.
func (c *linkConn) Close() error {
	c.noteLoss()
	return c.Conn.Close()
}

// Invoke makes a unary call of the plugin. It returns once the events that arose before the
// answer have been passed on. An error wraps ErrNotDelivered or ErrNotAnswered of the shell
// unless it is the plugin's answer.
func (l *link) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	var trailer metadata.MD
	var reached peer.Peer // its address is set once the call has a stream
	losses := l.losses.Load()
	err := l.conn.Invoke(ctx, method, args, reply, append(slices.Clip(opts), grpc.Trailer(&trailer), grpc.Peer(&reached))...)
	l.events.waitForTrailer(ctx, trailer)
	if err != nil && reached.Addr == nil {
		return undeliveredError(ctx, err)
	}
	return l.errorOfDelivered(ctx, err, losses)
}

// NewStream opens a stream to the plugin, whose end waits like the answer of Invoke. Its
// errors are like those of Invoke.
func (l *link) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	losses := l.losses.Load()
	under, err := l.conn.NewStream(ctx, desc, method, opts...)
	if err != nil {
		return nil, undeliveredError(ctx, err)
	}
	return linkStream{under, ctx, l, losses, !desc.ServerStreams}, nil
}

// linkStream is a stream of a link. Its end comes after the events that arose before it.
type linkStream struct {
	grpc.ClientStream
	ctx    context.Context
	link   *link
	losses int64 // of the link, when the stream began
	single bool  // the plugin sends one message only
}

// Header returns the header that the plugin sent.
func (s linkStream) Header() (metadata.MD, error) {
	header, err := s.ClientStream.Header()
	return header, s.link.errorOfDelivered(s.ctx, err, s.losses)
}

// RecvMsg receives one message. The end of the stream waits for the events before it.
func (s linkStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err != nil || s.single {
		s.link.events.waitForTrailer(s.ctx, s.Trailer())
	}
	return s.link.errorOfDelivered(s.ctx, err, s.losses)
}

// undeliveredError returns err, the error of a call that had no stream, for the shell: the
// plugin can't be reached, ctx has ended before, or gRPC refuses the call.
func undeliveredError(ctx context.Context, err error) error {
	code := status.Code(err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", shell.ErrNotDelivered, timelimit.EndError(ctx))
	case code != codes.Unavailable && code != codes.Canceled:
		return err
	}
	return fmt.Errorf("%w: %w: %s", shell.ErrUnavailable, shell.ErrNotDelivered, status.Convert(err).Message())
}

// Texts of gRPC's own errors. The first two are of streams that the plugin has refused, or
// has not looked at before it closed the connection; the last of one that it gave up.
const (
	refusedStream   = "stream terminated by RST_STREAM with error code: REFUSED_STREAM"
	unlookedStream  = "the stream is rejected because server is draining the connection"
	abandonedStream = "stream terminated by RST_STREAM"
)

// errorOfDelivered returns err, the error of a call that had a stream, for the shell. losses
// is how many connections the link had lost before the call. An answer of the plugin, io.EOF
// and nil stay as they are.
func (l *link) errorOfDelivered(ctx context.Context, err error, losses int64) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	s := status.Convert(err)
	if saysThatTimeIsOver(ctx, s) {
		waitForEndThatIsNear(ctx)
		return timelimit.EndError(ctx)
	}
	isLost := l.losses.Load() != losses
	if ctx.Err() != nil && (!isLost || s.Code() != codes.Unavailable) { // the plugin's end gives its calls up, too
		return err
	}
	ends := s.Code() == codes.Unavailable || s.Code() == codes.Canceled
	switch text := s.Message(); {
	case ends && (strings.HasPrefix(text, refusedStream) || text == unlookedStream):
		return undeliveredError(ctx, err)
	case ends && isLost, strings.HasPrefix(text, abandonedStream):
		return fmt.Errorf("%w: %s", shell.ErrNotAnswered, text)
	}
	return err
}

// saysThatTimeIsOver reports whether the status of a call means that the deadline of ctx has
// passed. The plugin knows the deadline too, and may be first to give the call up.
func saysThatTimeIsOver(ctx context.Context, s *status.Status) bool {
	abandoned := strings.HasPrefix(s.Message(), abandonedStream)
	plain := len(s.Details()) == 0 || s.Message() == context.DeadlineExceeded.Error()
	switch {
	case s.Code() == codes.DeadlineExceeded && abandoned:
		return true
	case s.Code() == codes.DeadlineExceeded && plain, abandoned:
		return errors.Is(ctx.Err(), context.DeadlineExceeded) || isDeadlineNear(ctx)
	}
	return false
}

// waitForEndThatIsNear waits for the end of ctx if its deadline is near, so that its cause is
// known.
func waitForEndThatIsNear(ctx context.Context) {
	if isDeadlineNear(ctx) {
		<-ctx.Done()
	}
}

// isDeadlineNear reports whether the context ends within the time by which two ends of a call
// may differ about its deadline.
func isDeadlineNear(ctx context.Context) bool {
	by, set := ctx.Deadline()
	return set && time.Until(by) < 20*time.Millisecond
}
