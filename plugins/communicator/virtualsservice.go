package communicator

import (
	"context"

	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// virtualsService is the gRPC service dormouse.shell.v1.Virtuals, for plugins alone.
type virtualsService struct {
	shellpb.UnimplementedVirtualsServer
	supervisor *supervisor.Supervisor
}

// CreateVirtual makes a virtual plugin of the calling plugin.
func (s virtualsService) CreateVirtual(ctx context.Context, r *shellpb.CreateVirtualRequest) (*shellpb.CreateVirtualResponse, error) {
	caller, err := callingPlugin(ctx)
	if err == nil {
		err = statusFromError(s.supervisor.CreateVirtual(ctx, caller, virtualFromMessage(r.GetPlugin())))
	}
	return &shellpb.CreateVirtualResponse{}, err
}

// UpdateVirtual changes a virtual plugin of the calling plugin.
func (s virtualsService) UpdateVirtual(ctx context.Context, r *shellpb.UpdateVirtualRequest) (*shellpb.UpdateVirtualResponse, error) {
	caller, err := callingPlugin(ctx)
	if err == nil {
		err = statusFromError(s.supervisor.UpdateVirtual(ctx, caller, virtualFromMessage(r.GetPlugin())))
	}
	return &shellpb.UpdateVirtualResponse{}, err
}

// RemoveVirtual removes a virtual plugin of the calling plugin.
func (s virtualsService) RemoveVirtual(ctx context.Context, r *shellpb.RemoveVirtualRequest) (*shellpb.RemoveVirtualResponse, error) {
	caller, err := callingPlugin(ctx)
	if err == nil {
		err = statusFromError(s.supervisor.RemoveVirtual(ctx, caller, r.GetCallsign()))
	}
	return &shellpb.RemoveVirtualResponse{}, err
}

// ListVirtual returns the virtual plugins of the calling plugin.
func (s virtualsService) ListVirtual(ctx context.Context, _ *shellpb.ListVirtualRequest) (*shellpb.ListVirtualResponse, error) {
	caller, err := callingPlugin(ctx)
	if err != nil {
		return nil, err
	}
	answer := &shellpb.ListVirtualResponse{}
	for _, v := range s.supervisor.VirtualsOf(caller) {
		m := &shellpb.VirtualPlugin{Callsign: v.Callsign, Profile: v.Profile.Proto(), Configuration: v.Configuration}
		if sh, ok := s.supervisor.Shell(v.Callsign); ok {
			m.State = shellpb.StateOf(string(sh.State()))
		}
		answer.Plugins = append(answer.Plugins, m)
	}
	return answer, nil
}

// callingPlugin returns the callsign of the plugin that makes the call, and an error for a client.
func callingPlugin(ctx context.Context) (string, error) {
	if caller := shell.CallerOf(ctx); caller != "" {
		return caller, nil
	}
	return "", errNotOwn
}

// virtualFromMessage returns the definition in a message.
func virtualFromMessage(m *shellpb.VirtualPlugin) supervisor.Virtual {
	return supervisor.Virtual{Callsign: m.GetCallsign(), Profile: shell.ProfileFromProto(m.GetProfile()), Configuration: m.GetConfiguration()}
}

// virtualsHostService returns the service as newServer registers it. Of clients only those
// that may operate the host learn that it is for plugins alone.
func virtualsHostService(s *supervisor.Supervisor) HostService {
	return HostService{
		Desc: &shellpb.Virtuals_ServiceDesc, Server: virtualsService{supervisor: s},
		Access: func(_ context.Context, fullMethod string, _ any) (access.Role, access.Target) {
			return access.Operate, access.Target{Method: fullMethod}
		},
	}
}
