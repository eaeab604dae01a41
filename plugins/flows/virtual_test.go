package flows

import (
	"strings"
	"sync/atomic"
	"testing"

	"dormouse/configs"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// The messages of a flow for a virtual plugin wait until its instance has made that, and name it.
// What it publishes is a result.
func TestFlowOfVirtualPlugin(t *testing.T) {
	r := newRig(t, setup{})
	var named atomic.Value
	r.answer(func(_ string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		named.Store(q.GetCallsign())
		return nil, nil
	})
	flow := configs.DefaultFlow()
	flow.Name, flow.Kind, flow.Instance, flow.Virtual, flow.Gives, flow.State = "texts", configs.FlowSource, "A", "C", []string{"lines"}, configs.FlowRunning
	flow.Unrouted = configs.UnroutedDrop
	r.declare([]configs.Flow{flow}, nil)
	r.must(r.publish("texts", "a"))
	waits := func(f record) bool { return strings.Contains(f.Why, "there is no instance C") }
	r.until("texts", waits)
	r.must(r.supervisor.CreateVirtual(t.Context(), "B", supervisor.Virtual{Callsign: "C"}))
	r.until("texts", waits) // that of another
	r.must(r.supervisor.RemoveVirtual(t.Context(), "B", "C"))
	r.must(r.supervisor.CreateVirtual(t.Context(), "A", supervisor.Virtual{Callsign: "C"}))
	r.expectAsked("texts a")
	r.until("texts", isEmpty)
	if named.Load() != "C" {
		t.Errorf("the message was for %v", named.Load())
	}
	_, err := r.Publish(t.Context(), "C", "texts", &shellpb.Message{Topic: "lines"})
	r.must(err)
	r.expectNothingAsked()
}
