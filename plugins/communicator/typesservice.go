package communicator

import (
	"context"

	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// typesService is the gRPC service dormouse.shell.v1.Types.
type typesService struct {
	shellpb.UnimplementedTypesServer
	supervisor *supervisor.Supervisor
}

// typesHostService returns the service as newServer registers it. Clients need the role that the
// JSON-RPC methods find and open need.
func typesHostService(s *supervisor.Supervisor) HostService {
	return HostService{
		Desc: &shellpb.Types_ServiceDesc, Server: typesService{supervisor: s},
		Access: func(_ context.Context, _ string, message any) (access.Role, access.Target) {
			if r, ok := message.(*shellpb.OpenRequest); ok {
				return access.Read, access.Target{Callsign: r.GetCallsign(), Method: "open"}
			}
			return access.Read, access.Target{Method: "find"}
		},
	}
}

// Find returns the instances that provide what is looked for, without the caller's own.
func (s typesService) Find(ctx context.Context, r *shellpb.FindRequest) (*shellpb.FindResponse, error) {
	found, err := s.supervisor.Find(shell.CallerOf(ctx), shell.UseFromProto(r.GetUse()))
	if err != nil {
		return nil, statusFromError(err)
	}
	answer := &shellpb.FindResponse{}
	for _, p := range found {
		answer.Providers = append(answer.Providers, providerMessage(p))
	}
	return answer, nil
}

// Open returns the instance that the message names.
func (s typesService) Open(_ context.Context, r *shellpb.OpenRequest) (*shellpb.OpenResponse, error) {
	p, err := s.supervisor.Open(r.GetCallsign(), shell.UseFromProto(r.GetUse()))
	if err != nil {
		return nil, statusFromError(err)
	}
	return &shellpb.OpenResponse{Provider: providerMessage(p)}, nil
}

// providerMessage returns a provider as a message.
func providerMessage(p supervisor.Provider) *shellpb.Provider {
	m := &shellpb.Provider{Callsign: p.Callsign, State: shellpb.StateOf(string(p.State)), Delivers: p.Delivers, Profile: p.Profile.Proto()}
	if p.Type.Name != "" {
		m.Type = shell.Profile{Provides: []shell.Type{p.Type}}.Proto().GetProvides()[0]
	}
	return m
}
