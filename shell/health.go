package shell

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthService is the service name under which every plugin reports its health.
const healthService = "plugin"

// CheckHealth asks an activated plugin whether it serves, as a probe: it neither wakes the
// plugin nor waits for one that wakes. It returns nil for a built-in and for a plugin that
// serves or has no health service. The error wraps ErrUnhealthy if the plugin says that it
// does not serve, and ErrUnavailable if the instance is not active or ends meanwhile; any
// other error means that the plugin did not answer.
//
// A virtual plugin is as healthy as its parent.
func (s *Shell) CheckHealth(ctx context.Context) error {
	if s.virtual != nil {
		if state := s.State(); state != Activated {
			return fmt.Errorf("%w: it is %s", ErrUnavailable, state)
		}
		return s.virtual.Parent().CheckHealth(ctx)
	}
	end, err := s.enterProbeIfActive()
	if err != nil {
		return fmt.Errorf("%w: it is %s", ErrUnavailable, s.State())
	}
	defer s.inFlight.leaveProbe()
	if s.process == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(end, cancel)() //nolint:contextcheck // end belongs to the plugin, not to the caller
	answer, err := healthpb.NewHealthClient(s.process.Conn()).Check(ctx, &healthpb.HealthCheckRequest{Service: healthService})
	code := status.Code(err)
	if code == codes.Unavailable {
		awaitEnd(ctx)
	}
	switch {
	case end.Err() != nil:
		return fmt.Errorf("%w: it ended meanwhile", ErrUnavailable)
	case code == codes.Unimplemented || code == codes.NotFound:
		return nil
	case err != nil:
		return fmt.Errorf("cannot ask for the plugin's health: %w", err)
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return fmt.Errorf("%w: its health is %s", ErrUnhealthy, answer.GetStatus())
	}
	return nil
}

// endNoticeTime is how long it takes at most until the host knows that a plugin has ended whose
// connection is broken.
const endNoticeTime = 2 * time.Second

// awaitEnd returns when ctx ends, which it does with the plugin, or after endNoticeTime: the
// connection of a plugin breaks before the host has heard of its end.
func awaitEnd(ctx context.Context) {
	late := time.NewTimer(endNoticeTime)
	defer late.Stop()
	select {
	case <-ctx.Done():
	case <-late.C:
	}
}
