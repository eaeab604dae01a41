package native

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/plugins/monitor"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
	"dormouse/test/streams"
)

// ear hears what happens in the host.
type ear struct{ heard chan shell.Notification }

func (ear) Transition(shell.Transition)                   {}
func (e ear) Notification(_ string, n shell.Notification) { e.heard <- n }
func (ear) Subsystems([]supervisor.Subsystem)             {}

// Roster does nothing: the listener needs no changes of the roster.
func (ear) Roster(supervisor.RosterChange) {}

// next returns what comes, which must come.
func next[T any](t *testing.T, stream grpc.ServerStreamingClient[T]) *T {
	t.Helper()
	got, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestLifecycleIsWatched(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	every, err := h.client.Controller().Watch(h.limited(), &controllerpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := h.client.Shell("Counter").Watch(h.limited(), &shellpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	control, err := h.client.StateControl("Counter").Watch(h.limited(), &statecontrolpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var present []string
	for range 4 {
		c := next(t, every)
		present = append(present, c.GetCallsign()+" "+c.GetState().String()+" "+c.GetControl().String())
	}
	if diff := cmp.Diff([]string{
		"Counter STATE_ACTIVATED CONTROL_SUSPENDED", "Other STATE_DEACTIVATED CONTROL_NONE",
		"Streams STATE_ACTIVATED CONTROL_SUSPENDED", "Tasks STATE_ACTIVATED CONTROL_NONE",
	}, present); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	if got := next(t, one); got.GetState() != shellpb.State_STATE_ACTIVATED {
		t.Errorf("got %v", got)
	}
	if got := next(t, control); got.GetState() != statecontrolpb.State_STATE_SUSPENDED {
		t.Errorf("got %v", got)
	}

	resumed := func(command statecontrolpb.Command) {
		t.Helper()
		if _, err := h.client.StateControl("Counter").Request(h.limited(), &statecontrolpb.RequestRequest{Command: command}); err != nil {
			t.Fatal(err)
		}
	}
	resumed(statecontrolpb.Command_COMMAND_RESUME)
	resumed(statecontrolpb.Command_COMMAND_SUSPEND)
	h.must("Counter", sleep, activate, shellpb.Operation_OPERATION_DEACTIVATE, shellpb.Operation_OPERATION_UNAVAILABLE)
	want := []string{
		"ACTIVATED RESUMED", "ACTIVATED SUSPENDED",
		"HIBERNATING SUSPENDED", "HIBERNATED SUSPENDED", "WAKING SUSPENDED", "ACTIVATED SUSPENDED",
		"DEACTIVATION SUSPENDED", "DEACTIVATED NONE", "UNAVAILABLE NONE",
	}
	for _, stream := range []grpc.ServerStreamingClient[shellpb.StateChange]{every, one} {
		var got []string
		for range want {
			c := next(t, stream)
			got = append(got, c.GetState().String()[len("STATE_"):]+" "+c.GetControl().String()[len("CONTROL_"):])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	var controls []statecontrolpb.State
	for range 3 {
		controls = append(controls, next(t, control).GetState())
	}
	if !slices.Equal(controls, []statecontrolpb.State{statecontrolpb.State_STATE_RESUMED, statecontrolpb.State_STATE_SUSPENDED, statecontrolpb.State_STATE_UNINITIALIZED}) {
		t.Errorf("state control: %v", controls)
	}
}

func TestInterfaces(t *testing.T) {
	h := startHost(t)
	got, err := h.client.Shell("Streams").Interfaces(h.limited(), &shellpb.InterfacesRequest{})
	if err != nil || !slices.Contains(got.GetServices(), "dormouse.test.streams.v1.Streams") {
		t.Errorf("got %v, %v", got, err)
	}
	got, err = h.client.Shell("Other").Interfaces(h.limited(), &shellpb.InterfacesRequest{})
	if err != nil || len(got.GetServices()) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// A part of the host is called as a plugin is.
func TestPartOfTheHost(t *testing.T) {
	part := configs.DefaultPlugin()
	part.Callsign, part.Builtin, part.StartMode = "Monitor", monitor.Class, configs.StartActivated
	part.Configuration = map[string]any{"observables": []any{}}
	h := startHost(t, part)
	got, err := h.client.Shell("Monitor").Interfaces(h.limited(), &shellpb.InterfacesRequest{})
	if err != nil || !slices.Equal(got.GetServices(), []string{shellpb.DispatcherService}) {
		t.Errorf("got %v, %v", got, err)
	}
	c := shellpb.NewDispatcherClient(h.client.Conn("Monitor"))
	answer, err := c.Invoke(h.limited(), &shellpb.InvokeRequest{Method: "observables"})
	if err != nil || string(answer.GetResult()) != "[]" {
		t.Errorf("got %v, %v", answer, err)
	}
	exists, err := c.Exists(h.limited(), &shellpb.ExistsRequest{Method: "observables"})
	if err != nil || !exists.GetExists() {
		t.Errorf("got %v, %v", exists, err)
	}
	_, err = c.Invoke(h.limited(), &shellpb.InvokeRequest{Method: "measurementdata", Index: "Nobody"})
	if status.Code(err) != codes.NotFound || shellpb.ErrorDetailOf(err).GetCode() != 22 {
		t.Errorf("nobody: %v", err)
	}
	_, err = c.Invoke(h.limited(), &shellpb.InvokeRequest{Method: "sing"})
	if status.Code(err) != codes.Unimplemented || shellpb.ErrorDetailOf(err).GetCode() != 53 {
		t.Errorf("an unknown method: %v", err)
	}
	_, err = streams.NewStreamsClient(h.client.Conn("Monitor")).Echo(h.limited(), &streams.Text{})
	if status.Code(err) != codes.Unimplemented || shellpb.ErrorDetailOf(err).GetCode() != 44 {
		t.Errorf("a service that it has not: %v", err)
	}
}

func TestControllerAnswers(t *testing.T) {
	h := startHost(t)
	c := h.client.Controller()
	version, err := c.Version(h.limited(), &controllerpb.VersionRequest{})
	if err != nil || version.GetHash() != "v1.2.3" || version.GetVersion().GetPatch() != 3 {
		t.Errorf("got %v, %v", version, err)
	}
	all, err := c.Services(h.limited(), &controllerpb.ServicesRequest{})
	if err != nil || len(all.GetServices()) != 4 || all.GetServices()[0].GetPaths().GetPersistent() != h.dir+"/persistent/Counter" {
		t.Errorf("got %v, %v", all, err)
	}
	about := &controllerpb.InstanceRequest{Callsign: "Other"}
	for _, test := range []struct {
		name   string
		err    error
		code   codes.Code
		number int32
	}{
		{"activate", second(c.Activate(h.limited(), about)), codes.OK, 0},
		{"resume", second(c.Resume(h.limited(), about)), codes.OK, 0},
		{"resume again", second(c.Resume(h.limited(), about)), codes.FailedPrecondition, 5},
		{"hibernate while resumed", second(c.Hibernate(h.limited(), &controllerpb.HibernateRequest{Callsign: "Other"})), codes.FailedPrecondition, 5},
		{"suspend", second(c.Suspend(h.limited(), about)), codes.OK, 0},
		{"restart", second(c.Restart(h.limited(), about)), codes.OK, 0},
		{"deactivate", second(c.Deactivate(h.limited(), about)), codes.OK, 0},
		{"unavailable", second(c.Unavailable(h.limited(), about)), codes.OK, 0},
		{"activate what is unavailable", second(c.Activate(h.limited(), about)), codes.FailedPrecondition, 5},
		{"nobody", second(c.Activate(h.limited(), &controllerpb.InstanceRequest{Callsign: "Nobody"})), codes.NotFound, 22},
	} {
		if status.Code(test.err) != test.code || shellpb.ErrorDetailOf(test.err).GetCode() != test.number {
			t.Errorf("%s: got %v with %v", test.name, test.err, shellpb.ErrorDetailOf(test.err))
		}
	}
	healthy, err := grpc_health_v1.NewHealthClient(dial(t, h.socket())).Check(h.limited(), &grpc_health_v1.HealthCheckRequest{Service: "dormouse.shell.v1.Shell"})
	if err != nil || healthy.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("got %v, %v", healthy, err)
	}
}

func second[T any](_ T, err error) error { return err }

// Calls that run when the host ends are waited for, but not for ever, and none
// is begun.
func TestCloseIsBounded(t *testing.T) {
	h := startHost(t)
	stream, err := h.client.Controller().Watch(h.limited(), &controllerpb.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // three plugins, and a part of the host
		next(t, stream)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := h.host.Communicator.StopServingNative(ctx); err != nil {
		t.Error(err) // a watch is told at once
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}
