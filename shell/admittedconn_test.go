package shell_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/shell"
	"dormouse/shell/shelltest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// stream opens one from the plugin; ended gets what it ends with. It returns when the
// stream lasts long enough to count as one.
func (r *rig) stream(ctx context.Context) (stream grpc.ClientStream, ended <-chan error) {
	r.Helper()
	stream, err := r.Conn().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/service/method")
	if err != nil {
		r.Fatal(err)
	}
	<-time.After(shell.MaxQuestionTime)
	return stream, background(func() error { return stream.RecvMsg(nil) })
}

func (r *rig) expectStreams(want int) {
	r.Helper()
	synctest.Wait()
	if calls, streams := r.InFlight(); streams != want || calls != 0 {
		r.Errorf("%d streams and %d calls count, want %d and none", streams, calls, want)
	}
}

func TestConnIsAdmitted(t *testing.T) {
	run(t, setup{hibernated: true}, func(r *rig) {
		err := r.Conn().Invoke(r.Context(), "/service/method", nil, nil)
		if !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		if _, err := r.Conn().NewStream(r.Context(), &grpc.StreamDesc{}, "/service/method"); !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		r.activate()
		r.must(r.Conn().Invoke(r.Context(), "/service/method", nil, nil))
		r.expectStreams(0)
	})
	run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
		_, ended := r.stream(r.Context())
		if !pending(ended) || r.State() != shell.Activated {
			r.Errorf("it is %s", r.State())
		}
		r.fake.Kill()
		if err := <-ended; !errors.Is(err, shell.ErrNotAnswered) {
			r.Errorf("got error %v, want ErrNotAnswered", err)
		}
	})
	run(t, setup{builtIn: true}, func(r *rig) {
		if r.Conn() != nil {
			r.Error("a backend without gRPC has a connection")
		}
	})
}

func TestStreamEnds(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		stream, ended := r.stream(r.Context())
		r.expectStreams(1)
		r.must(stream.CloseSend())
		if err := <-ended; !errors.Is(err, io.EOF) {
			r.Errorf("got error %v, want EOF", err)
		}
		r.expectStreams(0)

		ctx, cancel := context.WithCancel(r.Context())
		_, ended = r.stream(ctx)
		cancel()
		if err := <-ended; status.Code(err) != codes.Canceled {
			r.Errorf("got error %v, want CANCELED", err)
		}
		r.expectStreams(0)

		once, err := r.Conn().NewStream(r.Context(), &grpc.StreamDesc{ClientStreams: true}, "/service/method")
		r.must(err)
		r.must(once.RecvMsg(true)) // the one answer that there is
		r.expectStreams(0)

		r.fake.Fail(shelltest.OpenStream, errBroken)
		if _, err := r.Conn().NewStream(r.Context(), &grpc.StreamDesc{}, "/service/method"); !errors.Is(err, errBroken) {
			r.Errorf("got error %v", err)
		}
		r.expectStreams(0)
	})
}

// TestStreamsEndForHibernation has a call that is waited for and a stream that is
// not.
func TestStreamsEndForHibernation(t *testing.T) {
	for _, failure := range []error{nil, errBroken} {
		run(t, setup{}, func(r *rig) {
			r.activate()
			stream, ended := r.stream(r.Context())
			held := r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			r.fake.Fail(shelltest.Hibernate, failure)
			asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
			if err := <-ended; !errors.Is(err, shell.ErrHibernated) {
				r.Errorf("got error %v, want ErrHibernated", err)
			}
			if !pending(asleep) || !pending(answered) {
				r.Error("the running call was not waited for")
			}
			if err := stream.SendMsg(nil); !errors.Is(err, shell.ErrHibernated) {
				r.Errorf("got error %v, want ErrHibernated", err)
			}
			if _, err := stream.Header(); !errors.Is(err, shell.ErrHibernated) {
				r.Errorf("got error %v, want ErrHibernated", err)
			}
			held.Open()
			r.must(<-answered)
			if err := <-asleep; !errors.Is(err, failure) {
				r.Errorf("got error %v, want %v", err, failure)
			}
			r.expectStreams(0)
			r.must(r.Activate(r.Context(), shell.Requested))
			_, ended = r.stream(r.Context())
			if !pending(ended) {
				r.Errorf("a new stream ended with %v", <-ended)
			}
		})
	}
}

// TestStreamsDoNotDelayTheEnd has them last as long as calls may.
func TestStreamsDoNotDelayTheEnd(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		_, ended := r.stream(r.Context())
		held := r.fake.Hold(shelltest.Invoke)
		answered := background(func() error { return r.invoke(r.Context(), "") })
		begun := time.Now()
		down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
		if !pending(ended) {
			r.Error("the stream ended before the call")
		}
		held.Open()
		r.must(<-answered)
		r.must(<-down)
		if err := <-ended; !errors.Is(err, shell.ErrNotAnswered) {
			r.Errorf("got error %v, want ErrNotAnswered", err)
		}
		if took := time.Since(begun); took != 0 {
			r.Errorf("it took %s", took)
		}
		r.expectStreams(0)
	})
}
