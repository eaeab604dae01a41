package communicator

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/plugins/controller/controllerpb"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// controllerService is the gRPC service dormouse.controller.v1.Controller.
type controllerService struct {
	controllerpb.UnimplementedControllerServer
	*endpoint
}

// done is the answer of operations without a result.
var done = &controllerpb.DoneResponse{}

// operate runs an operation on the instance of that callsign, except the Controller.
// Only Hibernate has a limit; nil means the host's own.
func (s controllerService) operate(ctx context.Context, callsign string, o shellpb.Operation, limit *durationpb.Duration) (*controllerpb.DoneResponse, error) {
	sh, err := refuseController(s.findInstance(callsign))
	if err != nil {
		return nil, err
	}
	lost, err := s.runOperation(ctx, sh, o, shell.Requested, limit)
	return &controllerpb.DoneResponse{Lost: lost}, err
}

// Activate starts the plugin, or wakes it if it is hibernated and the request is not cold.
func (s controllerService) Activate(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	if r.GetCold() {
		return s.operateCold(ctx, r, (*shell.Shell).ActivateCold)
	}
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_ACTIVATE, nil)
}

// operateCold runs an operation that gives up what a hibernated plugin sleeps in, on an
// instance other than the Controller.
func (s controllerService) operateCold(ctx context.Context, r *controllerpb.InstanceRequest, run func(*shell.Shell, context.Context, shell.Reason) error) (*controllerpb.DoneResponse, error) {
	sh, err := refuseController(s.findInstance(r.GetCallsign()))
	if err != nil {
		return nil, err
	}
	return done, statusFromError(run(sh, ctx, shell.Requested))
}

// Deactivate ends the plugin. If it is hibernated and the request is not cold, it is woken
// first.
func (s controllerService) Deactivate(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	if r.GetCold() {
		return s.operateCold(ctx, r, (*shell.Shell).DeactivateCold)
	}
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_DEACTIVATE, nil)
}

// Restart ends the plugin and starts it anew in one turn.
func (s controllerService) Restart(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_RESTART, nil)
}

// Unavailable makes a deactivated instance unavailable.
func (s controllerService) Unavailable(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_UNAVAILABLE, nil)
}

// Suspend suspends the plugin.
func (s controllerService) Suspend(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_SUSPEND, nil)
}

// Resume resumes the plugin, and activates or wakes it first if necessary.
func (s controllerService) Resume(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_RESUME, nil)
}

// Hibernate hibernates the suspended plugin within the time limit of the request.
func (s controllerService) Hibernate(ctx context.Context, r *controllerpb.HibernateRequest) (*controllerpb.DoneResponse, error) {
	return s.operate(ctx, r.GetCallsign(), shellpb.Operation_OPERATION_HIBERNATE, r.GetTimeout())
}

// Losses returns all losses of state that were not acknowledged yet.
func (s controllerService) Losses(ctx context.Context, _ *controllerpb.LossesRequest) (*controllerpb.LossesResponse, error) {
	all := &controllerpb.LossesResponse{}
	for _, l := range s.Supervisor.Losses() {
		all.Losses = append(all.Losses, lossMessage(l, s.seesDetails(ctx, s.TargetOf(l.Callsign, "losses"))))
	}
	return all, nil
}

// Acknowledge ends the telling of what an instance has lost.
func (s controllerService) Acknowledge(_ context.Context, r *controllerpb.InstanceRequest) (*controllerpb.AcknowledgeResponse, error) {
	count, err := s.Supervisor.AcknowledgeLosses(r.GetCallsign())
	return &controllerpb.AcknowledgeResponse{Losses: uint32(count)}, statusFromError(err) //nolint:gosec // a few
}

// RestoreImage puts an image back that was put aside.
func (s controllerService) RestoreImage(ctx context.Context, r *controllerpb.RestoreImageRequest) (*controllerpb.DoneResponse, error) {
	return done, statusFromError(s.Supervisor.RestoreImage(ctx, r.GetCallsign(), r.GetGeneration()))
}

// Clone makes a new instance with the configuration of another.
func (s controllerService) Clone(ctx context.Context, r *controllerpb.CloneRequest) (*controllerpb.DoneResponse, error) {
	return done, statusFromError(s.Supervisor.Clone(ctx, r.GetCallsign(), r.GetNewCallsign()))
}

// Destroy ends a clone and deletes all that is kept of it. It does nothing for other
// instances.
func (s controllerService) Destroy(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	destroy := s.Supervisor.Destroy
	if r.GetCold() {
		destroy = s.Supervisor.DestroyCold
	}
	return done, statusFromError(destroy(ctx, r.GetCallsign()))
}

// Services returns the status of every instance, sorted by callsign.
func (s controllerService) Services(ctx context.Context, _ *controllerpb.ServicesRequest) (*controllerpb.ServicesResponse, error) {
	all := &controllerpb.ServicesResponse{}
	for _, sh := range s.Supervisor.Shells() {
		details := s.seesDetails(ctx, s.TargetOf(sh.Callsign(), "services"))
		all.Services = append(all.Services, s.statusMessage(sh, details))
	}
	return all, nil
}

// Watch sends the present state of every instance, then each change.
func (s controllerService) Watch(_ *controllerpb.WatchRequest, to grpc.ServerStreamingServer[shellpb.StateChange]) error {
	return s.sendStatesUntilEnd(to.Context(), "", to.Send)
}

// Subsystems returns all subsystems and whether they are up.
func (s controllerService) Subsystems(context.Context, *controllerpb.SubsystemsRequest) (*shellpb.SubsystemsResponse, error) {
	return subsystemsMessage(s.Supervisor.Subsystems()), nil
}

// Configure replaces the plugin's own configuration of an instance that is not active,
// until the host ends or Persist keeps it.
func (s controllerService) Configure(ctx context.Context, r *controllerpb.ConfigureRequest) (*controllerpb.DoneResponse, error) {
	sh, err := refuseController(s.findInstance(r.GetCallsign()))
	if err != nil {
		return nil, err
	}
	return done, statusFromError(s.Supervisor.Configure(ctx, sh.Callsign(), r.GetConfiguration()))
}

// Persist keeps the configuration that Configure has set across restarts of the host,
// for one instance or, if the callsign is empty, for all.
func (s controllerService) Persist(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return done, statusFromError(s.Supervisor.PersistConfiguration(ctx, r.GetCallsign()))
}

// Restore forgets the configuration that Configure has set, for one instance or, if the
// callsign is empty, for all.
func (s controllerService) Restore(ctx context.Context, r *controllerpb.InstanceRequest) (*controllerpb.DoneResponse, error) {
	return done, statusFromError(s.Supervisor.RestoreConfiguration(ctx, r.GetCallsign()))
}

// Reload reads the configuration files again and returns one line for each change.
func (s controllerService) Reload(ctx context.Context, _ *controllerpb.ReloadRequest) (*controllerpb.ReloadResponse, error) {
	if s.Options.Reload == nil {
		return nil, statusFromError(errors.ErrUnsupported)
	}
	changes, err := s.Options.Reload(ctx)
	return &controllerpb.ReloadResponse{Changes: changes}, statusFromError(err)
}

// Version returns the version of the host.
func (s controllerService) Version(context.Context, *controllerpb.VersionRequest) (*controllerpb.VersionResponse, error) {
	return &controllerpb.VersionResponse{Hash: s.Options.Version, Version: versionMessage(thunder.ParseVersionOrZero(s.Options.Version))}, nil
}
