package communicator

import (
	"context"
	"encoding/json"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// shellService is dormouse.shell.v1.Shell.
type shellService struct {
	shellpb.UnimplementedShellServer
	*endpoint
}

func (s shellService) Status(ctx context.Context, _ *shellpb.StatusRequest) (*shellpb.StatusResponse, error) {
	sh, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	return s.statusOf(sh), nil
}

func (s shellService) Operate(ctx context.Context, r *shellpb.OperateRequest) (*shellpb.OperateResponse, error) {
	sh, err := operable(s.target(ctx))
	if err != nil {
		return nil, err
	}
	return &shellpb.OperateResponse{}, operate(ctx, sh, r.GetOperation(), reasonOf(r.GetReason()), r.GetTimeout())
}

// operate does one operation and returns what a client is told of it. Once begun
// it goes on when the caller goes, which a plugin that ends itself must.
func operate(ctx context.Context, sh *shell.Shell, o shellpb.Operation, why shell.Reason, limit *durationpb.Duration) error {
	switch o {
	case shellpb.Operation_OPERATION_ACTIVATE:
		return refusal(sh.Activate(ctx, why))
	case shellpb.Operation_OPERATION_DEACTIVATE:
		return refusal(sh.Deactivate(ctx, why))
	case shellpb.Operation_OPERATION_UNAVAILABLE:
		return refusal(sh.MakeUnavailable(ctx, why))
	case shellpb.Operation_OPERATION_SUSPEND:
		return refusal(sh.Suspend(ctx, why))
	case shellpb.Operation_OPERATION_RESUME:
		return refusal(sh.Resume(ctx, why))
	case shellpb.Operation_OPERATION_HIBERNATE:
		return refusal(sh.Hibernate(ctx, why, limit.AsDuration()))
	default:
		return numbered(thunder.BadRequest, "the operation is none that the host knows")
	}
}

func (s shellService) Configure(ctx context.Context, r *shellpb.ConfigureRequest) (*shellpb.ConfigureResponse, error) {
	sh, err := operable(s.target(ctx))
	if err != nil {
		return nil, err
	}
	return &shellpb.ConfigureResponse{}, refusal(s.Supervisor.Configure(ctx, sh.Callsign(), r.GetConfiguration()))
}

func (s shellService) Watch(r *shellpb.WatchRequest, to grpc.ServerStreamingServer[shellpb.StateChange]) error {
	if r.GetEvery() {
		return s.watchStates(to.Context(), "", to.Send)
	}
	sh, err := s.target(to.Context())
	if err != nil {
		return err
	}
	return s.watchStates(to.Context(), sh.Callsign(), to.Send)
}

func (s shellService) Interfaces(ctx context.Context, _ *shellpb.InterfacesRequest) (*shellpb.InterfacesResponse, error) {
	sh, err := s.target(ctx)
	if err != nil {
		return nil, err
	}
	st := sh.BriefStatus()
	switch {
	case !st.State.IsInitialized():
		return &shellpb.InterfacesResponse{}, nil
	case dispatches(sh):
		return &shellpb.InterfacesResponse{Services: []string{shellpb.DispatcherService}}, nil
	default:
		return &shellpb.InterfacesResponse{Services: st.Information.Services}, nil
	}
}

func (s shellService) Subsystems(context.Context, *shellpb.SubsystemsRequest) (*shellpb.SubsystemsResponse, error) {
	return subsystemsOf(s.Supervisor.Subsystems()), nil
}

func (s shellService) SetSubsystem(ctx context.Context, r *shellpb.SetSubsystemRequest) (*shellpb.SetSubsystemResponse, error) {
	sh, err := s.itself(ctx)
	if err != nil {
		return nil, err
	}
	what := r.GetSubsystem()
	return &shellpb.SetSubsystemResponse{}, refusal(s.Supervisor.SetSubsystem(sh.Callsign(), what.GetName(), what.GetActive()))
}

func (s shellService) WatchSubsystems(_ *shellpb.WatchSubsystemsRequest, to grpc.ServerStreamingServer[shellpb.SubsystemsResponse]) error {
	w := s.subsystems.subscribe(s.own == "", func([]supervisor.Subsystem) bool { return true })
	known := make(map[string]bool)
	first := func() error {
		all := s.Supervisor.Subsystems()
		for _, subsystem := range all {
			known[subsystem.Name] = subsystem.Active
		}
		return to.Send(subsystemsOf(all))
	}
	return watch(to.Context(), s.Communicator, &s.subsystems, w, first, func(changed []supervisor.Subsystem) error {
		var news []supervisor.Subsystem
		for _, subsystem := range changed {
			if active, ok := known[subsystem.Name]; !ok || active != subsystem.Active {
				known[subsystem.Name] = subsystem.Active
				news = append(news, subsystem)
			}
		}
		if news == nil {
			return nil // it was among the first
		}
		return to.Send(subsystemsOf(news))
	})
}

func (s shellService) Notify(ctx context.Context, r *shellpb.NotifyRequest) (*shellpb.NotifyResponse, error) {
	sh, err := s.itself(ctx)
	if err != nil {
		return nil, err
	}
	event := r.GetEvent()
	if event.GetName() == "" {
		return nil, numbered(thunder.BadRequest, "the event has no name")
	}
	if len(event.GetParams()) > 0 && !json.Valid(event.GetParams()) {
		return nil, numbered(thunder.BadRequest, "the parameters of the event are not JSON")
	}
	sh.Notify(shell.Notification{Event: event.GetName(), Index: event.GetIndex(), Params: event.GetParams()})
	return &shellpb.NotifyResponse{}, nil
}

// itself is the instance whose plugin calls, which must be the target too.
func (s shellService) itself(ctx context.Context) (*shell.Shell, error) {
	sh, err := s.target(ctx)
	if err == nil && sh.Callsign() != s.own {
		return nil, errNotOwn
	}
	return sh, err
}
