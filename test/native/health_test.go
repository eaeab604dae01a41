package native

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell/shellpb"
)

func (h *rig) health(service string) string {
	h.t.Helper()
	answer, err := grpc_health_v1.NewHealthClient(dial(h.t, h.socket())).Check(h.limited(), &grpc_health_v1.HealthCheckRequest{Service: service})
	if status.Code(err) == codes.NotFound {
		return "NOT_FOUND"
	}
	if err != nil {
		h.t.Fatalf("health of %s: %v", service, err)
	}
	return answer.GetStatus().String()
}

func (h *rig) expectHealth(want map[string]string) {
	h.t.Helper()
	got := make(map[string]string)
	for service := range want {
		got[service] = h.health(service)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("health (-want +got):\n%s", diff)
	}
}

func TestHealthOfInstances(t *testing.T) {
	h := startHost(t)
	h.expectHealth(map[string]string{
		"": "SERVING", "dormouse.shell.v1.Shell": "SERVING", "grpc.health.v1.Health": "SERVING",
		"Streams": "SERVING", "Streams/dormouse.test.streams.v1.Streams": "SERVING", "Streams/no.such.Service": "NOT_FOUND",
		"Other": "NOT_SERVING", "Other/dormouse.test.streams.v1.Streams": "NOT_SERVING",
		"Nobody": "NOT_FOUND", "Nobody/dormouse.test.streams.v1.Streams": "NOT_FOUND", "no.such.Service": "NOT_FOUND",
	})
	all, err := grpc_health_v1.NewHealthClient(dial(t, h.socket())).List(h.limited(), &grpc_health_v1.HealthListRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "Counter", "Other", "Streams", "dormouse.shell.v1.Shell"} {
		if all.GetStatuses()[name].GetStatus().String() != h.health(name) {
			t.Errorf("%q is not listed as it is in %v", name, slices.Sorted(maps.Keys(all.GetStatuses())))
		}
	}
}

// An instance that sleeps serves if a call wakes it, and is not woken by the question.
func TestHealthOfWhatSleeps(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.must("Other", activate, sleep)
	h.must("Streams", sleep)
	h.expectHealth(map[string]string{
		"Other": "SERVING", "Other/dormouse.test.streams.v1.Streams": "SERVING", "Other/no.such.Service": "NOT_FOUND", "Streams": "NOT_SERVING",
	})
	if st, err := h.client.Shell("Other").Status(h.limited(), &shellpb.StatusRequest{}); err != nil || st.GetState() != shellpb.State_STATE_HIBERNATED {
		t.Errorf("got %v, %v", st, err)
	}
	h.must("Streams", activate)
}

func TestHealthIsWatched(t *testing.T) {
	h := startHost(t)
	watch := func(service string) grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse] {
		t.Helper()
		stream, err := grpc_health_v1.NewHealthClient(dial(t, h.socket())).Watch(h.limited(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	expect := func(stream grpc.ServerStreamingClient[grpc_health_v1.HealthCheckResponse], want string) {
		t.Helper()
		if got := next(t, stream).GetStatus().String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	other, clone := watch("Other"), watch("Clone/dormouse.test.streams.v1.Streams")
	expect(watch(""), "SERVING")
	expect(other, "NOT_SERVING")
	expect(clone, "SERVICE_UNKNOWN")
	h.must("Other", activate)
	expect(other, "SERVING")
	h.must("Other", shellpb.Operation_OPERATION_DEACTIVATE)
	expect(other, "NOT_SERVING")

	if _, err := h.client.Controller().Clone(h.limited(), &controllerpb.CloneRequest{Callsign: "Other", NewCallsign: "Clone"}); err != nil {
		t.Fatal(err)
	}
	h.must("Clone", activate)
	got := next(t, clone).GetStatus()
	for got == grpc_health_v1.HealthCheckResponse_NOT_SERVING { // while it starts
		got = next(t, clone).GetStatus()
	}
	if got != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("got %v", got)
	}
	if _, err := h.client.Controller().Destroy(h.limited(), &controllerpb.InstanceRequest{Callsign: "Clone"}); err != nil {
		t.Fatal(err)
	}
	got = next(t, clone).GetStatus()
	for got == grpc_health_v1.HealthCheckResponse_NOT_SERVING { // while it ends
		got = next(t, clone).GetStatus()
	}
	if got != grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("got %v", got)
	}
}
