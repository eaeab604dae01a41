package controller

import (
	"testing"

	"dormouse/shell"
	"dormouse/supervisor"
)

// Subscribers learn of each instance that comes, describes itself in another way, or goes; those
// with an index of theirs alone. The records of virtual plugins name the parent.
func TestRosterEvents(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	for _, event := range []string{"plugincreated", "pluginchanged", "pluginremoved"} {
		c.must("Controller.1.register", `{"event":"`+event+`","id":"c"}`)
	}
	c.must("Controller.1.register@V", `{"event":"pluginremoved","id":"c"}`)
	c.must("Controller.1.register@Other", `{"event":"pluginremoved","id":"c"}`)
	if err := h.supervisor.CreateVirtual(t.Context(), "P", supervisor.Virtual{Callsign: "V"}); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"jsonrpc":"2.0","method":"c.plugincreated","params":{"callsign":"V","parent":"P"}}`)
	if sh, _ := h.supervisor.Shell("V"); h.instanceRecord(sh.Status()).Parent != "P" {
		t.Error("its record does not name its parent")
	}
	if err := h.supervisor.UpdateVirtual(t.Context(), "P", supervisor.Virtual{Callsign: "V", Profile: shell.Profile{Title: "T"}}); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"jsonrpc":"2.0","method":"c.pluginchanged","params":{"callsign":"V","parent":"P"}}`)
	if err := h.supervisor.RemoveVirtual(t.Context(), "P", "V"); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"jsonrpc":"2.0","method":"c.pluginremoved","params":{"callsign":"V","parent":"P"}}`,
		`{"jsonrpc":"2.0","method":"c.pluginremoved@V","params":{"parent":"P"}}`)
	if err := h.supervisor.Clone(t.Context(), "P", "Copy"); err != nil {
		t.Fatal(err)
	}
	c.expect(`{"jsonrpc":"2.0","method":"c.plugincreated","params":{"callsign":"Copy"}}`)
}
