package communicator

import (
	"cmp"
	"context"
	"fmt"

	"google.golang.org/grpc/metadata"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// endpoint is one socket's side of the host.
type endpoint struct {
	*Communicator
	// own is the callsign whose plugin alone can reach it, empty where native
	// clients do.
	own string
}

// named is the callsign that a call is about, empty when it names none.
func named(ctx context.Context) (string, error) {
	switch callsigns := metadata.ValueFromIncomingContext(ctx, shellpb.CallsignKey); len(callsigns) {
	case 0:
		return "", nil
	case 1:
		return callsigns[0], nil
	default:
		return "", errCallsigns
	}
}

// target is the instance that a call of the host's own services is about.
func (e *endpoint) target(ctx context.Context) (*shell.Shell, error) {
	callsign, err := named(ctx)
	if err != nil {
		return nil, err
	}
	if callsign = cmp.Or(callsign, e.own); callsign == "" {
		return nil, errNoCallsign
	}
	return e.find(callsign)
}

func (e *endpoint) find(callsign string) (*shell.Shell, error) {
	sh, ok := e.Supervisor.Shell(callsign)
	if !ok {
		return nil, refusal(fmt.Errorf("%w: %q", supervisor.ErrUnknown, callsign))
	}
	return sh, nil
}

// operable is target for what changes its state: the host itself can't be asked
// to.
func operable(sh *shell.Shell, err error) (*shell.Shell, error) {
	if err == nil && sh.Callsign() == configs.ControllerCallsign {
		return nil, errHostItself
	}
	return sh, err
}
