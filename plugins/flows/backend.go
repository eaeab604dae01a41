package flows

import (
	"context"
	"encoding/json"

	"dormouse/shell"
	"dormouse/supervisor"
)

// backend is the built-in as the backend of its instance.
type backend struct {
	*Flows
	stopListening func() // nil while the instance is not active
}

var (
	_ shell.Backend = (*backend)(nil)
	_ shell.Web     = (*backend)(nil)
)

// Launch returns the description of the built-in.
func (b *backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Callsign,
		Description: "Keeps messages for plugins until they are ready",
		Version:     shell.Version{Major: 1},
	}, nil
}

// Initialize begins to deliver messages.
func (b *backend) Initialize(context.Context) error { //nolint:contextcheck // the deliveries go on until Stop
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running, b.stop = context.WithCancel(context.Background())
	for _, w := range b.flows {
		b.startDeliveryLocked(w)
	}
	if b.RunRemotes != nil {
		running := b.running
		b.deliveries.Go(func() { b.RunRemotes(running) })
	}
	b.stopListening = b.supervisor.Listen(listener{b.Flows})
	return nil
}

// Deinitialize does nothing: Stop ends the deliveries.
func (b *backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop ends all deliveries and returns when none runs any more. What was under way stays in
// its queue.
func (b *backend) Stop(context.Context) error {
	b.mu.Lock()
	if b.stopListening != nil {
		b.stopListening()
		b.stopListening = nil
		b.stop()
		b.running = nil
	}
	for _, w := range b.flows {
		w.mu.Lock()
		w.delivery = nil
		w.mu.Unlock()
	}
	b.mu.Unlock()
	b.deliveries.Wait()
	return nil
}

// Invoke calls a method. An error is a *shell.PluginError with Thunder's number.
func (b *backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	m, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	result, err := m.serve(ctx, b.Flows, c.Params)
	if err != nil {
		a := answers.To(err)
		return nil, a.PluginError(err, a.Data())
	}
	return json.Marshal(result)
}

// Exists reports whether there is a method of that name.
func (b *backend) Exists(_ context.Context, method string) (bool, error) {
	_, ok := methods[method]
	return ok, nil
}

// ProcessFigures returns nothing: the host reports its own memory.
func (b *backend) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{} }

// listener has deliveries look again when an instance changes its state.
type listener struct{ *Flows }

var _ supervisor.Listener = listener{}

// Transition has deliveries look again.
func (l listener) Transition(t shell.Transition) {
	if t.From != t.To {
		l.noteChange()
	}
}

// Notification does nothing.
func (l listener) Notification(string, shell.Notification) {}

// Subsystems does nothing.
func (l listener) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (l listener) Roster(supervisor.RosterChange) {}
