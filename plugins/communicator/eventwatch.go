package communicator

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// eventReport is an event of an instance, or its end.
type eventReport struct {
	callsign     string
	notification shell.Notification
	destroyed    bool
}

// size returns the size of the event's parameters in bytes.
func (r eventReport) size() int { return len(r.notification.Params) }

// isWanted reports whether the event is sent to a watcher of that request.
func (r eventReport) isWanted(by *shellpb.WatchEventsRequest) bool {
	n := r.notification
	return (len(by.GetEvents()) == 0 || slices.Contains(by.GetEvents(), n.Event)) &&
		(by.GetIndex() == "" || n.Index == "" || n.Index == by.GetIndex())
}

// checkAndWatchEvents checks that the client may have the events of the instance, and sends
// them. The events of a part of the host are for every reader.
func (e *endpoint) checkAndWatchEvents(in grpc.ServerStream, sh *shell.Shell) error {
	needed := access.Call
	if sh.IsBuiltIn() {
		needed = access.Read
	}
	if err := e.check(in.Context(), needed, access.Target{Callsign: sh.Callsign(), Method: "register"}); err != nil {
		return err
	}
	return e.watchEvents(in, sh)
}

// watchEvents serves the Dispatcher's Watch: it sends the events of an instance from now on,
// and none that arose before. It leaves out those whose parameters are not JSON. The plugin
// is neither woken nor kept awake. The Controller has no such events.
func (e *endpoint) watchEvents(in grpc.ServerStream, sh *shell.Shell) error {
	if sh.Callsign() == configs.ControllerCallsign {
		return errNoGRPC
	}
	var request shellpb.WatchEventsRequest
	if err := in.RecvMsg(&request); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNoMessage
		}
		return err
	}
	sh.WaitForReports(in.Context())
	w := e.events.add(e.ownCallsign == "", func(r eventReport) bool {
		return r.callsign == sh.Callsign() && (r.destroyed || r.isWanted(&request))
	})
	sendHeader := func() error { return in.SendHeader(metadata.MD{}) }
	return serveAndRemoveWatcher(in.Context(), e.Communicator, &e.events, w, sendHeader, func(r eventReport) error {
		n := r.notification
		switch {
		case r.destroyed:
			return statusFromError(fmt.Errorf("%w: %q was destroyed", supervisor.ErrUnknown, r.callsign))
		case len(n.Params) > 0 && !jsonrpc.IsJSONInUTF8(n.Params):
			return nil
		}
		return in.SendMsg(&shellpb.Event{Name: n.Event, Index: n.Index, Params: n.Params, Sequence: n.Sequence})
	})
}
