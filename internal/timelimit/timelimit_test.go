package timelimit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The error names the limit that passed first, whichever context was made last.
func TestEndError(t *testing.T) {
	plain := func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, time.Second)
	}
	limited := func(limit time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return With(ctx, limit) }
	}
	for _, test := range []struct {
		name string
		make []func(context.Context) (context.Context, context.CancelFunc)
		want string
	}{
		{"one limit", []func(context.Context) (context.Context, context.CancelFunc){limited(1500 * time.Millisecond)}, "no answer within 1.5s"},
		{"a shorter one inside", []func(context.Context) (context.Context, context.CancelFunc){limited(time.Minute), limited(time.Second)}, "no answer within 1s"},
		{"a shorter one outside", []func(context.Context) (context.Context, context.CancelFunc){limited(time.Second), limited(time.Minute)}, "no answer within 1s"},
		{"another deadline", []func(context.Context) (context.Context, context.CancelFunc){limited(time.Minute), plain}, "no answer in time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				for _, make := range test.make {
					var cancel context.CancelFunc
					ctx, cancel = make(ctx)
					defer cancel()
				}
				<-ctx.Done()
				err := EndError(ctx)
				if err.Error() != test.want || !errors.Is(err, context.DeadlineExceeded) || status.Code(err) != codes.DeadlineExceeded {
					t.Errorf("%v with code %s, want %s", err, status.Code(err), test.want)
				}
			})
		})
	}
	ctx, cancel := With(t.Context(), time.Minute)
	cancel()
	if err := EndError(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("after a cancellation: %v", err)
	}
}
