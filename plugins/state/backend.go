package state

import (
	"context"
	"encoding/json"

	"dormouse/shell"
)

// backend is the built-in as the backend of its instance.
type backend struct{ *State }

var (
	_ shell.Backend = (*backend)(nil)
	_ shell.Web     = (*backend)(nil)
)

// Launch returns the description of the built-in.
func (b *backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Callsign,
		Description: "Keeps durable keys and blobs for plugins",
		Version:     shell.Version{Major: 1},
	}, nil
}

// Initialize does nothing: plugins reach their state as long as the host serves them.
func (b *backend) Initialize(context.Context) error { return nil }

// Deinitialize does nothing.
func (b *backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop does nothing.
func (b *backend) Stop(context.Context) error { return nil }

// Invoke calls a method. An error is a *shell.PluginError with Thunder's number.
func (b *backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	serve, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	result, err := serve(ctx, b.State, c.Params)
	if err != nil {
		return nil, answers.To(err).PluginError(err, dataOf(err))
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
