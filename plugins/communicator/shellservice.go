package communicator

import (
	"cmp"
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// shellService is the gRPC service dormouse.shell.v1.Shell.
type shellService struct {
	shellpb.UnimplementedShellServer
	*endpoint
}

// Status returns the status of the instance that the call is about.
func (s shellService) Status(ctx context.Context, _ *shellpb.StatusRequest) (*shellpb.StatusResponse, error) {
	sh, err := s.targetInstance(ctx)
	if err != nil {
		return nil, err
	}
	return s.statusMessage(sh, s.seesDetails(ctx, s.TargetOf(sh.Callsign(), "status"))), nil
}

// Operate runs a lifecycle operation on the instance that the call is about, except the
// Controller.
func (s shellService) Operate(ctx context.Context, r *shellpb.OperateRequest) (*shellpb.OperateResponse, error) {
	sh, err := refuseController(s.targetInstance(ctx))
	if err != nil {
		return nil, err
	}
	lost, err := s.runOperation(ctx, sh, r.GetOperation(), reasonOrRequested(r.GetReason()), r.GetTimeout())
	return &shellpb.OperateResponse{Lost: lost}, err
}

// runOperation runs an operation on an instance, and returns its error as a gRPC status. After
// an activation it returns what was lost of the instance's state. limit applies to Hibernate
// alone; nil means the host's own.
func (e *endpoint) runOperation(ctx context.Context, sh *shell.Shell, o shellpb.Operation, why shell.Reason, limit *durationpb.Duration) (lost []*shellpb.Loss, err error) {
	if err := operate(ctx, sh, o, why, limit); err != nil {
		return nil, err
	}
	switch o {
	case shellpb.Operation_OPERATION_ACTIVATE, shellpb.Operation_OPERATION_RESTART, shellpb.Operation_OPERATION_RESUME:
		lost = e.lossMessages(sh.Callsign(), e.seesDetails(ctx, e.TargetOf(sh.Callsign(), "activate")))
	default:
	}
	return lost, nil
}

// operate runs an operation on an instance, and returns its error as a gRPC status.
func operate(ctx context.Context, sh *shell.Shell, o shellpb.Operation, why shell.Reason, limit *durationpb.Duration) error {
	switch o {
	case shellpb.Operation_OPERATION_ACTIVATE:
		return statusFromError(sh.Activate(ctx, why))
	case shellpb.Operation_OPERATION_DEACTIVATE:
		return statusFromError(sh.Deactivate(ctx, why))
	case shellpb.Operation_OPERATION_RESTART:
		return statusFromError(sh.Restart(ctx, why))
	case shellpb.Operation_OPERATION_UNAVAILABLE:
		return statusFromError(sh.MakeUnavailable(ctx, why))
	case shellpb.Operation_OPERATION_SUSPEND:
		return statusFromError(sh.Suspend(ctx, why))
	case shellpb.Operation_OPERATION_RESUME:
		return statusFromError(sh.Resume(ctx, why))
	case shellpb.Operation_OPERATION_HIBERNATE:
		return statusFromError(sh.Hibernate(ctx, why, limit.AsDuration()))
	default:
		return statusWithNumber(thunder.BadRequest, "the host does not know the operation")
	}
}

// Configure replaces the plugin's own configuration of an instance that is not active.
func (s shellService) Configure(ctx context.Context, r *shellpb.ConfigureRequest) (*shellpb.ConfigureResponse, error) {
	sh, err := refuseController(s.targetInstance(ctx))
	if err != nil {
		return nil, err
	}
	return &shellpb.ConfigureResponse{}, statusFromError(s.Supervisor.Configure(ctx, sh.Callsign(), r.GetConfiguration()))
}

// Watch sends the present state and then each change, of the instance that the call is
// about or, if asked for, of every instance.
func (s shellService) Watch(r *shellpb.WatchRequest, to grpc.ServerStreamingServer[shellpb.StateChange]) error {
	if r.GetEvery() {
		return s.sendStatesUntilEnd(to.Context(), "", to.Send)
	}
	sh, err := s.targetInstance(to.Context())
	if err != nil {
		return err
	}
	return s.sendStatesUntilEnd(to.Context(), sh.Callsign(), to.Send)
}

// Interfaces returns the gRPC services of the instance, none before it is initialized.
func (s shellService) Interfaces(ctx context.Context, _ *shellpb.InterfacesRequest) (*shellpb.InterfacesResponse, error) {
	sh, err := s.targetInstance(ctx)
	if err != nil {
		return nil, err
	}
	return &shellpb.InterfacesResponse{Services: servicesOf(sh)}, nil
}

// servicesOf returns the gRPC services of the instance, nil before it is initialized.
func servicesOf(sh *shell.Shell) []string {
	st := sh.BriefStatus()
	switch {
	case !st.State.IsInitialized():
		return nil
	case isBuiltinExceptController(sh):
		return []string{shellpb.DispatcherService}
	default:
		return st.Information.Services
	}
}

// Subsystems returns all subsystems and whether they are up.
func (s shellService) Subsystems(context.Context, *shellpb.SubsystemsRequest) (*shellpb.SubsystemsResponse, error) {
	return subsystemsMessage(s.Supervisor.Subsystems()), nil
}

// SetSubsystem sets a subsystem up or down, which the calling plugin must control.
func (s shellService) SetSubsystem(ctx context.Context, r *shellpb.SetSubsystemRequest) (*shellpb.SetSubsystemResponse, error) {
	sh, err := s.requireOwnInstance(ctx)
	if err != nil {
		return nil, err
	}
	what := r.GetSubsystem()
	return &shellpb.SetSubsystemResponse{}, statusFromError(s.Supervisor.SetSubsystem(sh.Callsign(), what.GetName(), what.GetActive()))
}

// WatchSubsystems sends all subsystems, then each set of subsystems that changed.
func (s shellService) WatchSubsystems(_ *shellpb.WatchSubsystemsRequest, to grpc.ServerStreamingServer[shellpb.SubsystemsResponse]) error {
	w := s.subsystems.add(s.ownCallsign == "", func([]supervisor.Subsystem) bool { return true })
	known := make(map[string]bool)
	sendPresent := func() error {
		all := s.Supervisor.Subsystems()
		for _, subsystem := range all {
			known[subsystem.Name] = subsystem.Active
		}
		return to.Send(subsystemsMessage(all))
	}
	return serveAndRemoveWatcher(to.Context(), s.Communicator, &s.subsystems, w, sendPresent, func(changed []supervisor.Subsystem) error {
		var news []supervisor.Subsystem
		for _, subsystem := range changed {
			if active, ok := known[subsystem.Name]; !ok || active != subsystem.Active {
				known[subsystem.Name] = subsystem.Active
				news = append(news, subsystem)
			}
		}
		if news == nil {
			return nil // the client was sent these already
		}
		return to.Send(subsystemsMessage(news))
	})
}

// Notify sends an event of the calling plugin to its subscribers. The event needs a
// name, and its parameters must be JSON or empty.
func (s shellService) Notify(ctx context.Context, r *shellpb.NotifyRequest) (*shellpb.NotifyResponse, error) {
	sh, err := s.requireOwnInstance(ctx)
	if err != nil {
		return nil, err
	}
	event := r.GetEvent()
	if event.GetName() == "" {
		return nil, statusWithNumber(thunder.BadRequest, "the event has no name")
	}
	if len(event.GetParams()) > 0 && !json.Valid(event.GetParams()) {
		return nil, statusWithNumber(thunder.BadRequest, "the parameters of the event are not JSON")
	}
	sh.Notify(shell.Notification{Event: event.GetName(), Index: event.GetIndex(), Params: event.GetParams()})
	return &shellpb.NotifyResponse{}, nil
}

// requireOwnInstance returns the instance whose plugin calls. It returns errNotOwn for a
// native client, and if the call is about another instance.
func (s shellService) requireOwnInstance(ctx context.Context) (*shell.Shell, error) {
	sh, err := s.targetInstance(ctx)
	if err == nil && sh.Callsign() != cmp.Or(shell.CallerOf(ctx), s.ownCallsign) {
		return nil, errNotOwn
	}
	return sh, err
}
