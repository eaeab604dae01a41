package communicator

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"

	"dormouse/plugins/access"
)

// HostService is a gRPC service that a part of the host serves, to native clients and to
// plugins on their host sockets.
type HostService struct {
	Desc *grpc.ServiceDesc
	// Server serves the calls. It finds out by shell.CallerOf which plugin calls.
	Server any
	// Access returns the role that a client needs for the call of that method with that
	// message, access.None if clients may not make the call, and what the call is about. It
	// is not asked about calls of plugins, for which the server decides.
	Access func(ctx context.Context, fullMethod string, message any) (access.Role, access.Target)
}

// ruleOf returns the rule of a method of the host's services, or false for none.
func (e *endpoint) ruleOf(fullMethod string) (rule, bool) {
	if r, ok := rules[fullMethod]; ok {
		return r, true
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	i := slices.IndexFunc(e.Services, func(s HostService) bool { return s.Desc.ServiceName == name })
	if i < 0 {
		return nil, false
	}
	return e.Services[i].rule(fullMethod), true
}

// rule returns the rule of a method of the service.
func (s HostService) rule(fullMethod string) rule {
	return func(ctx context.Context, e *endpoint, message any) (rights, error) {
		if e.ownCallsign != "" {
			return rights{isFree: true}, nil
		}
		needed, target := s.Access(ctx, fullMethod, message)
		return rights{needed: needed, targets: []access.Target{target}}, nil
	}
}
