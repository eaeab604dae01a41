package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/flows"
	"dormouse/shell/shellpb"
)

// unknownFlow is the name of a flow that no plugin has.
const unknownFlow = "dormouse-verify-no-such-flow"

// tryFlowStep does the step that gives the plugin a message of a flow: of that of Options, else of
// an unknown one.
func (r *run) tryFlowStep(ctx context.Context) {
	skip := r.skipReasonIfNotRunning()
	if skip == "" && !slices.Contains(r.services, shellpb.FlowService) {
		skip = "it serves no Flow"
	}
	r.tryAndRecordStep(Flows, skip, func() (found string, err error) {
		if r.Flow == "" {
			found, err = r.processUnknown(ctx)
		} else {
			found, err = r.processMessage(ctx, r.Flow, r.Message)
		}
		return found, r.withCauseOfEnd(err)
	})
}

// processMessage gives the plugin a message, and returns how many results the plugin has made of
// it. It returns an error if the host would not take them.
func (r *run) processMessage(ctx context.Context, flow string, body []byte) (found string, _ error) {
	conn := r.shell.Conn()
	if conn == nil {
		return "", errors.New("it has ended")
	}
	m := &shellpb.Message{Id: "dormouse-verify", Body: body}
	answer, err := shellpb.NewFlowClient(conn).Process(ctx, &shellpb.ProcessRequest{Flow: flow, Message: m, Attempt: 1, Callsign: callsign})
	if err == nil {
		err = flows.CheckResults(answer.GetMessages())
	}
	return fmt.Sprintf("%s: %d results", flow, len(answer.GetMessages())), err
}

// processUnknown gives the plugin a message of a flow that does not exist. A plugin may refuse it,
// or make something of the messages of any flow; it must not say that it can't now, since the
// message would wait for ever.
func (r *run) processUnknown(ctx context.Context) (found string, _ error) {
	found, err := r.processMessage(ctx, unknownFlow, nil)
	refusal, refused := err.(interface{ GRPCStatus() *status.Status })
	if !refused {
		return found, err
	}
	switch code := refusal.GRPCStatus().Code(); code {
	case codes.Unimplemented, codes.Unavailable, codes.Canceled:
		return "", fmt.Errorf("it answered a message of an unknown flow with %s: %s", code, refusal.GRPCStatus().Message())
	default:
		return "a message of an unknown flow is refused", nil
	}
}
