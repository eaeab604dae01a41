// Package streams is a gRPC service with every kind of method, as a plugin may
// have one of its own.
package streams

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Service is the one that answers.
type Service struct {
	UnimplementedStreamsServer
	gone atomic.Int64
}

// Echo answers what it is sent.
func (s *Service) Echo(ctx context.Context, in *Text) (*Text, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for key := range md {
		if strings.HasPrefix(key, "dormouse-") {
			return nil, status.Errorf(codes.InvalidArgument, "%s came through", key)
		}
	}
	ask := md.Get("x-ask")
	if err := grpc.SetHeader(ctx, metadata.MD{"x-answer": ask}); err != nil {
		return nil, err
	}
	if err := grpc.SetTrailer(ctx, metadata.MD{"x-end": ask}); err != nil {
		return nil, err
	}
	if in.GetStatus() != 0 {
		refused, err := status.New(codes.Code(in.GetStatus()), "as asked: "+in.GetText()).WithDetails(in)
		if err != nil {
			return nil, err
		}
		return nil, refused.Err()
	}
	return in, nil
}

// Join answers all texts in one.
func (s *Service) Join(stream grpc.ClientStreamingServer[Text, Text]) error {
	var all strings.Builder
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&Text{Text: all.String()})
		}
		if err != nil {
			return err
		}
		if in.GetStatus() != 0 { // it has had enough
			return status.Error(codes.Code(in.GetStatus()), all.String())
		}
		all.WriteString(in.GetText())
	}
}

// Split sends each byte by itself.
func (s *Service) Split(in *Text, stream grpc.ServerStreamingServer[Text]) error {
	for i := range len(in.GetText()) {
		if err := stream.Send(&Text{Text: in.GetText()[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}

// Chat answers each text at once.
func (s *Service) Chat(stream grpc.BidiStreamingServer[Text, Text]) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.Send(&Text{Text: "bye"})
		}
		if err != nil {
			return err
		}
		if err := stream.Send(in); err != nil {
			return err
		}
	}
}

// Hang waits for its caller to go.
func (s *Service) Hang(_ *Text, stream grpc.ServerStreamingServer[Text]) error {
	if err := stream.SendHeader(metadata.Pairs("x-hangs", "yes")); err != nil {
		return err
	}
	<-stream.Context().Done()
	s.gone.Add(1)
	return stream.Context().Err()
}

// Gone counts the callers of Hang that have gone.
func (s *Service) Gone(ctx context.Context, _ *Text) (*Number, error) {
	n := &Number{Number: s.gone.Load()}
	if deadline, ok := ctx.Deadline(); ok {
		n.Remaining = time.Until(deadline).Milliseconds()
	}
	return n, nil
}
