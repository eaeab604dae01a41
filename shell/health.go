package shell

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthService is the name under which every plugin reports its health.
const healthService = "plugin"

// CheckHealth asks an activated plugin whether it serves; any other it leaves
// alone and returns ErrUnavailable. It is no call: it neither wakes the plugin
// nor waits for one that wakes. A plugin without gRPC has nothing to say.
func (s *Shell) CheckHealth(ctx context.Context) error {
	end, state := s.enterIfActive()
	if end == nil {
		return fmt.Errorf("%w: it is %s", ErrUnavailable, state)
	}
	defer s.inFlight.leaveCall()
	if s.process == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(end, cancel) //nolint:contextcheck // it ends with the plugin, not with the caller
	defer stop()
	answer, err := healthpb.NewHealthClient(s.process.Conn()).Check(ctx, &healthpb.HealthCheckRequest{Service: healthService})
	switch code := status.Code(err); {
	case end.Err() != nil:
		return fmt.Errorf("%w: it ended meanwhile", ErrUnavailable)
	case code == codes.Unimplemented || code == codes.NotFound:
		return nil // it answered
	case err != nil:
		return fmt.Errorf("cannot ask for the plugin's health: %w", err)
	case answer.GetStatus() != healthpb.HealthCheckResponse_SERVING:
		return fmt.Errorf("%w: its health is %s", ErrUnhealthy, answer.GetStatus())
	}
	return nil
}

// DeactivateIfActive is Deactivate for whoever judged the running plugin: unless
// the instance is activated when its turn comes, it does nothing, so that it
// never wakes one.
func (s *Shell) DeactivateIfActive(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Deactivate, s.deactivationLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			return nil
		}
		return s.deactivateInTurn(ctx, why)
	})
}
