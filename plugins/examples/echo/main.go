// Echo is a plugin with one method, which returns its parameters, and one event,
// which sends them to subscribers.
package main

import (
	"context"
	"encoding/json"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&echo{}) }

type echo struct{ in *sdk.Instance }

func (e *echo) Initialize(_ context.Context, in *sdk.Instance) error {
	e.in = in
	return nil
}

func (e *echo) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (e *echo) Information() sdk.Information {
	return sdk.Information{Description: "answers what it was asked", Version: sdk.Version{Major: 1}}
}

func (e *echo) Methods() sdk.Methods {
	return sdk.Methods{"echo": sdk.Method(e.echo)}
}

func (e *echo) echo(_ context.Context, params json.RawMessage) (json.RawMessage, error) {
	e.in.Emit("echoed", params)
	return params, nil
}
