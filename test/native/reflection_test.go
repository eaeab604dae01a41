package native

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"dormouse/hibernate/hibernatetest"
	"dormouse/shell/shellpb"
)

var hostServices = []string{
	"dormouse.controller.v1.Controller", "dormouse.packager.v1.Packager", "dormouse.shell.v1.Shell", "dormouse.shell.v1.Types", "dormouse.shell.v1.Virtuals",
	"dormouse.state.v1.State", "dormouse.statecontrol.v1.StateControl", "dormouse.tasks.v1.Tasks", "grpc.health.v1.Health",
	"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
}

const streamsService = "dormouse.test.streams.v1.Streams"

// reflect asks one question, about an instance if callsign is not empty.
func (h *rig) reflect(callsign string, question *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(shellpb.WithCallsign(context.Background(), callsign), patience)
	defer cancel()
	stream, err := grpc_reflection_v1.NewServerReflectionClient(dial(h.t, h.socket())).ServerReflectionInfo(ctx)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := stream.Send(question); err != nil {
		h.t.Fatal(err)
	}
	return stream.Recv()
}

var list = &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}}

func symbol(name string) *grpc_reflection_v1.ServerReflectionRequest {
	return &grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}}
}

func (h *rig) expectServices(callsign string, want ...string) {
	h.t.Helper()
	answer, err := h.reflect(callsign, list)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, s := range answer.GetListServicesResponse().GetService() {
		got = append(got, s.GetName())
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		h.t.Errorf("services of %q (-want +got):\n%s", callsign, diff)
	}
}

// methods returns the methods of a service as it is described.
func (h *rig) methods(callsign, service string) []string {
	h.t.Helper()
	answer, err := h.reflect(callsign, symbol(service))
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, raw := range answer.GetFileDescriptorResponse().GetFileDescriptorProto() {
		var file descriptorpb.FileDescriptorProto
		if err := proto.Unmarshal(raw, &file); err != nil {
			h.t.Fatal(err)
		}
		for _, s := range file.GetService() {
			if file.GetPackage()+"."+s.GetName() == service {
				for _, m := range s.GetMethod() {
					names = append(names, m.GetName())
				}
			}
		}
	}
	return names
}

// The host describes its own services, and those of an instance that the metadata names.
func TestReflection(t *testing.T) {
	h := startHost(t)
	h.expectServices("", hostServices...)
	h.expectServices("Other", hostServices...)
	h.expectServices("Streams", append([]string{"dormouse.shell.v1.Dispatcher", streamsService}, hostServices...)...)
	for _, callsign := range []string{"", "Streams"} {
		if got := h.methods(callsign, "dormouse.shell.v1.Shell"); !slices.Contains(got, "Operate") {
			t.Errorf("the Shell has %v", got)
		}
		if got := h.methods(callsign, "dormouse.shell.v1.Dispatcher"); !slices.Contains(got, "Watch") {
			t.Errorf("the Dispatcher has %v", got)
		}
	}
	if diff := cmp.Diff([]string{"Echo", "Join", "Split", "Chat", "Hang", "Gone", "Wait"}, h.methods("Streams", streamsService)); diff != "" {
		t.Errorf("methods of the plugin's service (-want +got):\n%s", diff)
	}
	for callsign, want := range map[string]codes.Code{"": codes.NotFound, "Counter": codes.NotFound, "Other": codes.Unavailable} {
		answer, err := h.reflect(callsign, symbol(streamsService))
		if err != nil || codes.Code(answer.GetErrorResponse().GetErrorCode()) != want {
			t.Errorf("%q answers %v, %v", callsign, answer, err)
		}
	}
	if _, err := h.reflect("Nobody", list); status.Code(err) != codes.NotFound || shellpb.ErrorDetailOf(err).GetCode() != 22 {
		t.Errorf("an unknown callsign: %v", err)
	}
	if _, err := h.reflect("", &grpc_reflection_v1.ServerReflectionRequest{}); status.Code(err) != codes.InvalidArgument || shellpb.ErrorDetailOf(err).GetCode() != 54 {
		t.Errorf("no question: %v", err)
	}
}

// Older clients ask under another name. Their messages are the same on the wire.
func TestReflectionV1Alpha(t *testing.T) {
	h := startHost(t)
	both := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := dial(t, h.socket()).NewStream(shellpb.WithCallsign(h.limited(), "Streams"), both, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(symbol(streamsService)); err != nil {
		t.Fatal(err)
	}
	var answer grpc_reflection_v1.ServerReflectionResponse
	if err := stream.RecvMsg(&answer); err != nil || len(answer.GetFileDescriptorResponse().GetFileDescriptorProto()) != 1 {
		t.Errorf("got %v, %v", &answer, err)
	}
}

// What is known without the plugin does not wake it; a question to it is a call.
func TestReflectionOfWhatSleeps(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.must("Streams", sleep)
	h.must("Other", activate, sleep)
	h.expectServices("Other", append([]string{"dormouse.shell.v1.Dispatcher", streamsService}, hostServices...)...)
	if st, err := h.client.Shell("Other").Status(h.limited(), &shellpb.StatusRequest{}); err != nil || st.GetState() != shellpb.State_STATE_HIBERNATED {
		t.Errorf("got %v, %v", st, err)
	}
	if got := h.methods("Other", streamsService); len(got) != 7 {
		t.Errorf("got %v", got)
	}
	answer, err := h.reflect("Streams", symbol(streamsService))
	if err != nil || codes.Code(answer.GetErrorResponse().GetErrorCode()) != codes.FailedPrecondition {
		t.Errorf("got %v, %v", answer, err)
	}
	h.must("Streams", activate)
}
