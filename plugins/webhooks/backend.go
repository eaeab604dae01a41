package webhooks

import (
	"context"
	"encoding/json"

	"dormouse/shell"
)

// backend is the built-in as the backend of its instance.
type backend struct{ *Webhooks }

var _ shell.Backend = (*backend)(nil)

// Launch returns the description of the built-in.
func (b *backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Callsign,
		Description: "Tells others over HTTP what happens to tasks and plugins",
		Version:     shell.Version{Major: 1},
	}, nil
}

// Initialize begins to make deliveries.
func (b *backend) Initialize(context.Context) error { //nolint:contextcheck // the deliveries go on until Stop
	b.mu.Lock()
	defer b.mu.Unlock()
	var ctx context.Context
	ctx, b.stop = context.WithCancel(context.Background())
	b.running.Go(func() { b.Outbox.Run(ctx) })
	return nil
}

// Deinitialize does nothing: Stop ends the deliveries.
func (b *backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop ends all deliveries and returns when none runs any more. What was under way stays in
// the outbox.
func (b *backend) Stop(context.Context) error {
	b.mu.Lock()
	if b.stop != nil {
		b.stop()
		b.stop = nil
	}
	b.mu.Unlock()
	b.running.Wait()
	return nil
}

// Invoke calls a method. An error is a *shell.PluginError with Thunder's number.
func (b *backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	m, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	result, err := m.serve(ctx, b.Webhooks, c.Params)
	if err != nil {
		return nil, answers.To(err).PluginError(err, nil)
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
