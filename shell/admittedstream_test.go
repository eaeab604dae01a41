package shell_test

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/shell"
)

// A stream counts as a call for as long as it may be one question and one answer.
func TestStreamsThatCountAsCalls(t *testing.T) {
	send := func(s grpc.ClientStream) error { return s.SendMsg(nil) }
	receive := func(s grpc.ClientStream) error { return s.RecvMsg(true) }
	header := func(s grpc.ClientStream) error {
		_, err := s.Header()
		return err
	}
	wait := func(d time.Duration) func(grpc.ClientStream) error {
		return func(grpc.ClientStream) error {
			<-time.After(d)
			return nil
		}
	}
	long, timeout := wait(shell.MaxQuestionTime), wait(time.Duration(configs.DefaultPlugin().CallTimeout))
	type acts []func(grpc.ClientStream) error
	for _, test := range []struct {
		name   string
		acts   acts
		stream bool
	}{
		{"it has begun", nil, false},
		{"no message comes", acts{long}, true},
		{"the requests end without a message", acts{grpc.ClientStream.CloseSend, long}, true},
		{"the requests do not end", acts{send, long}, true},
		{"the requests end", acts{send, grpc.ClientStream.CloseSend, long}, false},
		{"no answer comes within the call timeout", acts{send, grpc.ClientStream.CloseSend, long, timeout}, true},
		{"two requests", acts{send, send}, true},
		{"a header", acts{send, grpc.ClientStream.CloseSend, header}, false},
		{"a header and nothing more", acts{send, grpc.ClientStream.CloseSend, header, header, long}, true},
		{"one answer", acts{send, grpc.ClientStream.CloseSend, header, receive}, false},
		{"one answer and no end", acts{send, grpc.ClientStream.CloseSend, receive, long}, true},
		{"two answers", acts{send, grpc.ClientStream.CloseSend, receive, receive}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				r.activate()
				s, err := r.Conn().NewStream(r.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/service/method")
				r.must(err)
				for _, act := range test.acts {
					r.must(act(s))
				}
				synctest.Wait()
				if calls, streams := r.InFlight(); (streams == 1) != test.stream || calls+streams != 1 {
					r.Errorf("%d calls and %d streams count", calls, streams)
				}
			})
		})
	}
}

// A hibernation waits for a question, and ends a stream.
func TestHibernationWaitsForAQuestion(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		s, err := r.Conn().NewStream(r.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/service/method")
		r.must(err)
		r.must(s.SendMsg(nil))
		r.must(s.CloseSend())
		begun := time.Now()
		asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		<-time.After(2 * time.Second)
		if !pending(asleep) {
			r.Error("the question was not waited for")
		}
		r.must(s.RecvMsg(true))
		r.must(<-asleep)
		if took := time.Since(begun); took != 2*time.Second+shell.MaxQuestionTime {
			r.Errorf("it took %s", took)
		}
	})
}
