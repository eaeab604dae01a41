package process

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/timelimit"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// A call whose time is over fails with plain words, whichever end of the connection notices
// first; an answer of the plugin's own stays.
func TestErrorOfCallWithoutAnswer(t *testing.T) {
	reset := abandonedStream + " with error code: CANCEL"
	late := context.DeadlineExceeded.Error()
	detail := &shellpb.Error{Code: 11}
	const limit = time.Second
	for _, test := range []struct {
		name  string
		after time.Duration // when the call fails
		err   error
		want  string
		late  bool
	}{
		{"the host is first", limit, status.Error(codes.DeadlineExceeded, late), "no answer within 1s", true},
		{"the plugin is first, and resets the stream", limit - time.Millisecond, status.Error(codes.Canceled, reset), "no answer within 1s", true},
		{"the plugin is first, and says so", limit - time.Millisecond, status.Error(codes.DeadlineExceeded, late), "no answer within 1s", true},
		{"the plugin is first, and its library says so", limit - time.Millisecond, shellpb.ErrorWithDetail(codes.DeadlineExceeded, late, detail), "no answer within 1s", true},
		{"the stream is reset long before", limit / 2, status.Error(codes.Canceled, reset), "the call was delivered, and no answer came: " + reset, false},
		{"a deadline of the plugin's own", limit / 2, status.Error(codes.DeadlineExceeded, late), "no answer in time", true},
		{"words of the plugin's own", limit - time.Millisecond, shellpb.ErrorWithDetail(codes.DeadlineExceeded, "the tuner is late", detail), "the tuner is late (code 11)", false},
		{"another error at the end", limit, status.Error(codes.Unknown, "no tuner"), "no tuner", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := timelimit.With(t.Context(), limit)
				defer cancel()
				<-time.After(test.after)
				synctest.Wait()
				err := shellErrorFromGRPC(new(link).errorOfDelivered(ctx, test.err, 0))
				if err.Error() != test.want || errors.Is(err, context.DeadlineExceeded) != test.late {
					t.Errorf("%v, and that it is late: %v; want %s, %v", err, errors.Is(err, context.DeadlineExceeded), test.want, test.late)
				}
				ctx, cancel = timelimit.With(t.Context(), limit)
				defer cancel()
				<-ctx.Done()
				err = undeliveredError(ctx, test.err)
				if want := "the call was not delivered: no answer within 1s"; err.Error() != want || !errors.Is(err, shell.ErrNotDelivered) {
					t.Errorf("undelivered: %v, want %s", err, want)
				}
			})
		})
	}
}

// A call on a connection that is lost was not answered, also if it was given up at that moment
// because the plugin has ended: what gRPC says of the connection is no answer of the plugin.
func TestErrorOfCallOnLostConnection(t *testing.T) {
	const text = "error reading from server: connection reset by peer"
	givenUp, giveUp := context.WithCancel(t.Context())
	giveUp()
	l := new(link)
	l.losses.Add(1)
	for name, ctx := range map[string]context.Context{"": t.Context(), ", and given up": givenUp} {
		err := shellErrorFromGRPC(l.errorOfDelivered(ctx, status.Error(codes.Unavailable, text), 0))
		if !errors.Is(err, shell.ErrNotAnswered) {
			t.Errorf("lost%s: %v", name, err)
		}
	}
	if err := shellErrorFromGRPC(l.errorOfDelivered(givenUp, status.Error(codes.Canceled, "context canceled"), 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
