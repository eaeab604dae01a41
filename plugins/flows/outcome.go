package flows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// outcome is what has come of asking a plugin to process a message: at most one of its texts is
// set, and none if the plugin has answered with results.
type outcome struct {
	notAsked string // the plugin could not be asked, or says that it can't now: no attempt
	failed   string // to be tried again
	lasting  string // never to be tried again
	killed   string // the plugin has ended over the message
}

// isSource reports whether the flow is a source.
func isSource(s snapshot) bool { return s.Kind == configs.FlowSource }

// askPlugin gives the message to the flow's plugin, and waits for the answer up to the call
// timeout of the instance. A hibernated plugin is woken by that.
func (d *delivery) askPlugin(s snapshot, m *shellpb.Message, attempt int) ([]*shellpb.Message, outcome) {
	sh := d.flows.shellOf(s)
	if sh == nil {
		return nil, outcome{notAsked: fmt.Sprintf("there is no instance %s", s.Receiver())}
	}
	conn := sh.Conn()
	if conn == nil {
		return nil, outcome{notAsked: fmt.Sprintf("%s is a part of the host, and no plugin", s.Receiver())}
	}
	begun := time.Now()
	answer, err := shellpb.NewFlowClient(conn).Process(d.calls, &shellpb.ProcessRequest{Flow: s.Name, Message: m, Attempt: uint32(attempt), Callsign: s.Receiver()})
	if err == nil {
		return answer.GetMessages(), outcome{}
	}
	if errors.Is(err, shell.ErrNotAnswered) && d.calls.Err() == nil {
		return nil, d.outcomeOfEnd(sh, begun, err)
	}
	return nil, outcomeOf(err)
}

// outcomeOf returns what the error of a call says of the message.
func outcomeOf(err error) outcome {
	text := err.Error()
	if answer, ok := err.(interface{ GRPCStatus() *status.Status }); ok { // an error that only wraps a status is the host's
		s := answer.GRPCStatus()
		text = fmt.Sprintf("the plugin answered: %s", s.Message())
		switch s.Code() {
		case codes.Unavailable, codes.Canceled:
			return outcome{notAsked: text}
		case codes.InvalidArgument:
			return outcome{lasting: text}
		default:
			return outcome{failed: text}
		}
	}
	if late, ok := errors.AsType[*shell.CallTimeoutError](err); ok && late.Delivered {
		return outcome{failed: text}
	}
	return outcome{notAsked: text}
}

// endTime is how long it takes at most until the end of a plugin's process is a transition.
const endTime = 5 * time.Second

// outcomeOfEnd returns what it says of the message that the plugin was ended while it had the
// message, since begun: it has killed the plugin if the plugin ended by itself.
func (d *delivery) outcomeOfEnd(sh *shell.Shell, begun time.Time, err error) outcome {
	ctx, cancel := context.WithTimeout(d.calls, endTime)
	defer cancel()
	for ctx.Err() == nil {
		changed := d.flows.nextChange()
		st := sh.BriefStatus()
		for _, t := range st.History {
			if t.Event == shell.Exit && !t.At.Before(begun) {
				return outcome{killed: "the plugin ended while it had the message: " + describeEnd(t.Err)}
			}
		}
		if st.State != shell.Activated {
			break
		}
		waitAny(ctx, changed, nil, endTime)
	}
	return outcome{notAsked: err.Error()}
}

// describeEnd returns how a plugin ended, without what it wrote last, which is not for every
// reader.
func describeEnd(err error) string {
	exit, ok := errors.AsType[*shell.ExitError](err)
	switch {
	case errors.Is(err, shell.ErrMemoryExceeded):
		return shell.ErrMemoryExceeded.Error()
	case ok:
		return "it exited " + exit.Describe()
	default:
		return shell.ErrExited.Error()
	}
}
