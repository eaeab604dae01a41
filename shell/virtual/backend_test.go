package virtual

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/shelltest"
)

// deaf is an observer that ignores everything.
type deaf struct{}

func (deaf) Transition(shell.Transition)             {}
func (deaf) Notification(string, shell.Notification) {}

// recorder is a connection that keeps what it is asked, and answers with an error.
type recorder struct {
	answer error
	named  []string // callsigns in the metadata
	asked  *shellpb.OperateVirtualRequest
}

func (r *recorder) Invoke(ctx context.Context, _ string, args, _ any, _ ...grpc.CallOption) error {
	r.note(ctx)
	r.asked, _ = args.(*shellpb.OperateVirtualRequest)
	return r.answer
}

func (r *recorder) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	r.note(ctx)
	return nil, errors.New("no stream")
}

func (r *recorder) note(ctx context.Context) {
	md, _ := metadata.FromOutgoingContext(ctx)
	r.named = md.Get(shellpb.CallsignKey)
}

// newParent returns an active instance whose plugin has that connection.
func newParent(t *testing.T, to grpc.ClientConnInterface) *shell.Shell {
	t.Helper()
	config := configs.DefaultPlugin()
	config.Callsign = "Parent"
	parent := shell.New(shell.Options{Config: config, Log: zerolog.Nop(), Observer: deaf{}, Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
		p := &shelltest.Plugin{Connection: to}
		p.Attach(config, sink)
		return p
	}})
	if err := parent.Activate(t.Context(), shell.Requested); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := parent.Deactivate(context.Background(), shell.Shutdown); err != nil {
			t.Error(err)
		}
		parent.Close()
	})
	return parent
}

// Calls name the virtual plugin, whatever callsign the caller has put there.
func TestCallsNameTheVirtualPlugin(t *testing.T) {
	var r recorder
	conn := New("Child", newParent(t, &r)).Conn()
	for _, ctx := range []context.Context{t.Context(), metadata.AppendToOutgoingContext(t.Context(), shellpb.CallsignKey, "Other", "own", "kept")} {
		if err := conn.Invoke(ctx, "/a/b", nil, nil); err != nil || len(r.named) != 1 || r.named[0] != "Child" {
			t.Errorf("a call named %q, %v", r.named, err)
		}
		r.named = nil
		if _, err := conn.NewStream(ctx, &grpc.StreamDesc{}, "/a/b"); err == nil || len(r.named) != 1 || r.named[0] != "Child" {
			t.Errorf("a stream named %q, %v", r.named, err)
		}
	}
}

// What a parent answers refuses an operation; what kept it from answering is no refusal.
func TestAskParent(t *testing.T) {
	for _, test := range []struct {
		name    string
		answer  error
		refused bool
		part    string
	}{
		{"yes", nil, false, ""},
		{"no", status.Error(codes.PermissionDenied, "not now"), true, "Parent: not now"},
		{"not served", status.Error(codes.Unimplemented, ""), true, "takes no operations"},
		{"not answered", shell.ErrNotAnswered, false, "no answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{answer: test.answer}
			err := New("Child", newParent(t, r)).AskParent(t.Context(), shell.Destroy, shell.Requested)
			if (err == nil) != (test.answer == nil) || errors.Is(err, shell.ErrRefused) != test.refused || err != nil && !strings.Contains(err.Error(), test.part) {
				t.Errorf("got %v", err)
			}
			if r.asked.GetCallsign() != "Child" || r.asked.GetOperation() != shellpb.VirtualOperation_VIRTUAL_OPERATION_DESTROY {
				t.Errorf("it was asked %v", r.asked)
			}
		})
	}
}
