package sdk

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"dormouse/shell/shellpb"
)

// processing processes messages, and is nothing else.
type processing struct {
	bare
	process func(flow string, m Message) ([]Message, error)
}

func (p *processing) Process(_ context.Context, flow string, m Message) ([]Message, error) {
	return p.process(flow, m)
}

func TestProcess(t *testing.T) {
	full := &shellpb.Message{Id: "i", Topic: "t", ContentType: "c", Metadata: map[string]string{"k": "v"}, Body: []byte("b")}
	conn := start(t, &processing{process: func(flow string, m Message) ([]Message, error) {
		return []Message{m, {Topic: flow}}, nil
	}})
	got, err := shellpb.NewFlowClient(conn).Process(t.Context(), &shellpb.ProcessRequest{Flow: "f", Message: full, Attempt: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := &shellpb.ProcessResponse{Messages: []*shellpb.Message{full, {Topic: "f"}}}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
}

func TestProcessErrors(t *testing.T) {
	for _, test := range []struct {
		err  error
		want codes.Code
	}{
		{errors.New("no"), codes.Unknown},
		{&Error{Code: InvalidParameter}, codes.InvalidArgument},
		{fmt.Errorf("not yet: %w", &Error{Code: Unavailable}), codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		conn := start(t, &processing{process: func(string, Message) ([]Message, error) { return nil, test.err }})
		_, err := shellpb.NewFlowClient(conn).Process(t.Context(), &shellpb.ProcessRequest{})
		if status.Code(err) != test.want {
			t.Errorf("%v became %v, want %v", test.err, err, test.want)
		}
	}
}

func TestProcessBeforeInitialize(t *testing.T) {
	conn := connect(t, &processing{})
	if _, err := shellpb.NewFlowClient(conn).Process(t.Context(), &shellpb.ProcessRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	about, err := shellpb.NewPluginClient(conn).Information(t.Context(), &shellpb.InformationRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{shellpb.DispatcherService, shellpb.HooksService, shellpb.FlowService}
	if diff := cmp.Diff(want, about.GetServices()); diff != "" {
		t.Error(diff)
	}
}

// Publish of the host answers with the flow and the body.
func (h *fakeHost) Publish(_ context.Context, r *shellpb.PublishRequest) (*shellpb.PublishResponse, error) {
	return &shellpb.PublishResponse{Id: r.GetFlow() + "/" + string(r.GetMessage().GetBody()), Seen: r.GetMessage().GetId() != ""}, nil
}

func TestPublish(t *testing.T) {
	h := newFakeHost(t)
	in := instance(t, h)
	for _, known := range []string{"", "7"} {
		id, seen, err := in.Host.Publish(t.Context(), "f", Message{ID: known, Body: []byte("b")})
		if err != nil || id != "f/b" || seen != (known != "") {
			t.Errorf("got %q, %t, %v", id, seen, err)
		}
	}
	h.refuse = shellpb.ErrorWithDetail(codes.FailedPrecondition, "it is stopped", &shellpb.Error{Code: IllegalState})
	_, _, err := in.Host.Publish(t.Context(), "f", Message{})
	if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != IllegalState || err.Error() != "cannot publish to the flow f: it is stopped" {
		t.Errorf("got %v", err)
	}
}
