package communicator

import (
	"cmp"
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// endpoint serves the calls that come in over one socket: the native clients' or
// one plugin's.
type endpoint struct {
	*Communicator
	// ownCallsign is the instance whose plugin uses the socket, empty for native
	// clients.
	ownCallsign string
	// hostServices are the names of the host's own services on the socket, sorted.
	hostServices []string
}

// callsignFromMetadata returns the callsign in the metadata of a call, empty if there
// is none. Several callsigns are an error.
func callsignFromMetadata(ctx context.Context) (string, error) {
	switch callsigns := metadata.ValueFromIncomingContext(ctx, shellpb.CallsignKey); len(callsigns) {
	case 0:
		return "", nil
	case 1:
		return callsigns[0], nil
	default:
		return "", errCallsigns
	}
}

// targetInstance returns the instance that a call of the host's services is about: the
// one in the metadata, else that of the calling plugin or virtual plugin. It returns an error if the call
// names none, or an unknown one.
func (e *endpoint) targetInstance(ctx context.Context) (*shell.Shell, error) {
	callsign, err := e.targetCallsign(ctx)
	if err != nil {
		return nil, err
	}
	return e.findInstance(callsign)
}

// targetCallsign returns the callsign of the instance that a call of the host's services is
// about, which need not exist. It returns an error if the call names none, or several.
func (e *endpoint) targetCallsign(ctx context.Context) (string, error) {
	callsign, err := callsignFromMetadata(ctx)
	if err != nil {
		return "", err
	}
	if callsign = cmp.Or(callsign, shell.CallerOf(ctx), e.ownCallsign); callsign == "" {
		return "", errNoCallsign
	}
	return callsign, nil
}

// findInstance returns the instance of that callsign, or the status NotFound.
func (e *endpoint) findInstance(callsign string) (*shell.Shell, error) {
	sh, ok := e.Supervisor.Shell(callsign)
	if !ok {
		return nil, statusFromError(e.Supervisor.UnknownError(callsign))
	}
	return sh, nil
}

// isOwnPluginStarting reports whether the endpoint's own plugin is still starting.
func (e *endpoint) isOwnPluginStarting() bool {
	sh, ok := e.Supervisor.Shell(e.ownCallsign)
	return ok && sh.State() == shell.Activation
}

// startingPluginStream is a call of a plugin that is still starting. It does not wait for an
// instance that the host starts after that plugin.
type startingPluginStream struct{ grpc.ServerStream }

// Context returns the context of the call.
func (s startingPluginStream) Context() context.Context {
	return shell.RefuseUntilStarted(s.ServerStream.Context())
}

// ownPluginStream is a call of a plugin to its own instance. It does not wait while the plugin
// is replaced.
type ownPluginStream struct{ grpc.ServerStream }

// Context returns the context of the call.
func (s ownPluginStream) Context() context.Context {
	return shell.RefuseUntilReplaced(s.ServerStream.Context())
}

// refuseController returns an error if sh is the Controller, whose state no call may
// change; else it returns its arguments.
func refuseController(sh *shell.Shell, err error) (*shell.Shell, error) {
	if err == nil && sh.Callsign() == configs.ControllerCallsign {
		return nil, errHostItself
	}
	return sh, err
}
