package shell_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/shell"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// connected is the connection to a plugin that serves its health and nothing
// else.
type connected struct {
	grpc.ClientConnInterface
	t      *testing.T
	answer func(ctx context.Context, service string) (healthpb.HealthCheckResponse_ServingStatus, error)
}

func (c *connected) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	request, ok := args.(*healthpb.HealthCheckRequest)
	answer, fits := reply.(*healthpb.HealthCheckResponse)
	if !ok || !fits || method != healthpb.Health_Check_FullMethodName {
		c.t.Errorf("%s was called", method)
		return errBroken
	}
	said, err := c.answer(ctx, request.GetService())
	answer.Status = said
	return err
}

// runConnected is run with a plugin that answers for its health.
func runConnected(t *testing.T, s setup, c *connected, test func(*rig)) {
	t.Helper()
	run(t, s, func(r *rig) {
		c.t = r.T
		r.fake.Connection = c
		test(r)
	})
}

func TestHealth(t *testing.T) {
	for name, c := range map[string]struct {
		said healthpb.HealthCheckResponse_ServingStatus
		err  error
		want error
	}{
		"serves":          {said: healthpb.HealthCheckResponse_SERVING},
		"does not serve":  {said: healthpb.HealthCheckResponse_NOT_SERVING, want: shell.ErrUnhealthy},
		"does not know":   {want: shell.ErrUnhealthy},
		"has no health":   {err: status.Error(codes.Unimplemented, "")},
		"has another one": {err: status.Error(codes.NotFound, "")},
		"is broken":       {err: errBroken, want: errBroken},
	} {
		t.Run(name, func(t *testing.T) {
			plugin := &connected{answer: func(_ context.Context, service string) (healthpb.HealthCheckResponse_ServingStatus, error) {
				if service != "plugin" {
					t.Errorf("asked for the health of %q", service)
				}
				return c.said, c.err
			}}
			runConnected(t, setup{}, plugin, func(r *rig) {
				r.activate()
				if err := r.CheckHealth(r.Context()); !errors.Is(err, c.want) || c.want == nil && err != nil {
					r.Errorf("got %v, want %v", err, c.want)
				}
			})
		})
	}
}

// A connection that breaks is no answer, unless the plugin has ended, which the host hears later.
func TestHealthOfBrokenConnection(t *testing.T) {
	for name, c := range map[string]struct {
		endsAfter time.Duration // 0 for never
		want      bool          // it is unavailable
	}{
		"it ends":       {time.Second, true},
		"it lives":      {0, false},
		"it ends later": {time.Minute, false},
	} {
		t.Run(name, func(t *testing.T) {
			var end func()
			plugin := &connected{answer: func(context.Context, string) (healthpb.HealthCheckResponse_ServingStatus, error) {
				if c.endsAfter > 0 {
					time.AfterFunc(c.endsAfter, end)
				}
				return 0, status.Error(codes.Unavailable, "connection refused")
			}}
			runConnected(t, setup{}, plugin, func(r *rig) {
				end = r.fake.Kill
				r.activate()
				if err := r.CheckHealth(r.Context()); err == nil || errors.Is(err, shell.ErrUnavailable) != c.want {
					r.Errorf("got %v", err)
				}
				if c.endsAfter > 0 {
					<-time.After(c.endsAfter)
					synctest.Wait()
				}
			})
		})
	}
}

// TestHealthCheckIsNotUse checks the health in every state of a plugin that calls wake.
func TestHealthCheckIsNotUse(t *testing.T) {
	for _, state := range []shell.State{shell.Unavailable, shell.Deactivated, shell.Activation, shell.Deactivation, shell.Hibernating, shell.Hibernated, shell.Waking} {
		t.Run(string(state), func(t *testing.T) {
			plugin := &connected{answer: func(context.Context, string) (healthpb.HealthCheckResponse_ServingStatus, error) {
				t.Error("the plugin was asked")
				return 0, nil
			}}
			runConnected(t, setup{config: wakeOnCall}, plugin, func(r *rig) {
				finish := r.bringInto(state)
				if err := r.CheckHealth(r.Context()); !errors.Is(err, shell.ErrUnavailable) {
					r.Errorf("got %v, want ErrUnavailable", err)
				}
				synctest.Wait()
				if got := r.State(); got != state {
					r.Errorf("it is %s", got)
				}
				finish()
			})
		})
	}
}

func TestHealthWithoutAnswer(t *testing.T) {
	plugin := &connected{answer: func(ctx context.Context, _ string) (healthpb.HealthCheckResponse_ServingStatus, error) {
		<-ctx.Done()
		return 0, status.FromContextError(ctx.Err()).Err()
	}}
	runConnected(t, setup{}, plugin, func(r *rig) {
		r.activate()
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if err := r.CheckHealth(ctx); status.Code(err) != codes.DeadlineExceeded {
			r.Errorf("got %v", err)
		}

		asked := background(func() error { return r.CheckHealth(r.Context()) })
		r.fake.Kill()
		if err := <-asked; !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("it ended: got %v, want ErrUnavailable", err)
		}
		synctest.Wait()
	})
}

func TestHealthWithoutGRPC(t *testing.T) {
	run(t, setup{builtIn: true}, func(r *rig) {
		r.activate()
		r.must(r.CheckHealth(r.Context()))
	})
}

func TestDeactivateActive(t *testing.T) {
	for _, state := range []shell.State{shell.Unavailable, shell.Deactivated, shell.Hibernated} {
		t.Run(string(state), func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				r.bringInto(state)()
				r.forgetSoFar()
				r.must(r.DeactivateIfActive(r.Context(), shell.MemoryExceeded))
				r.expect()
			})
		})
	}
	t.Run("activated", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.must(r.DeactivateIfActive(r.Context(), shell.MemoryExceeded))
			if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.MemoryExceeded {
				r.Errorf("it is %s, %s", st.State, st.Reason)
			}
		})
	})
	t.Run("meanwhile hibernating", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			finish := r.bringInto(shell.Hibernating)
			judged := background(func() error { return r.DeactivateIfActive(r.Context(), shell.Failure) })
			finish()
			r.must(<-judged)
			if got := r.State(); got != shell.Hibernated {
				r.Errorf("it is %s", got)
			}
		})
	})
}
