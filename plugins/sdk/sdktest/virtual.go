package sdktest

// Virtual returns a virtual plugin that the plugin has made, as clients see it: Call, Process, State
// and the events are its own, Deactivate asks the plugin, which may refuse. It is hibernated and
// woken with the plugin. Virtual fails the test if the plugin has none of that callsign.
func (h *Harness) Virtual(callsign string) *Harness {
	h.t.Helper()
	sh, ok := h.host.Supervisor.Shell(callsign)
	if !ok || sh.Parent() != h.shell.Callsign() {
		h.t.Fatalf("the plugin has no virtual plugin %s, it has %v", callsign, h.VirtualCallsigns())
	}
	return &Harness{t: h.t, host: h.host, callsign: callsign, shell: sh, queues: h.queues, events: h.queues.of(callsign)}
}

// VirtualCallsigns returns the callsigns of the virtual plugins that the plugin has made, sorted.
func (h *Harness) VirtualCallsigns() []string {
	var callsigns []string
	for _, v := range h.host.Supervisor.VirtualsOf(h.shell.Callsign()) {
		callsigns = append(callsigns, v.Callsign)
	}
	return callsigns
}

// Destroy destroys a virtual plugin as a client does, which asks the plugin. The error is the
// plugin's refusal.
func (h *Harness) Destroy() error {
	return h.host.Supervisor.Destroy(h.t.Context(), h.shell.Callsign())
}
