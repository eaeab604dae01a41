package sdk_test

import (
	"context"

	"dormouse/plugins/sdk"
)

// greeter is a plugin with one method and one event.
type greeter struct{ in *sdk.Instance }

func (g *greeter) Initialize(_ context.Context, in *sdk.Instance) error {
	g.in = in
	return nil
}

func (g *greeter) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (g *greeter) Methods() sdk.Methods {
	return sdk.Methods{"greet": sdk.Method(g.greet)}
}

func (g *greeter) greet(_ context.Context, name string) (string, error) {
	g.in.Emit("greeted", name)
	return "Hello, " + name, nil
}

// A whole plugin: main does nothing else.
func ExampleServe() {
	sdk.Serve(&greeter{})
}

// A goroutine that follows another instance, through sleeps of its own plugin
// too, and calls it once it is there.
func ExampleHost_Watch() {
	follow := func(ctx context.Context, in *sdk.Instance) {
		for change, err := range in.Host.Watch(ctx, "Net") {
			if err != nil {
				in.Log.Error("cannot follow Net", "error", err)
				return
			}
			if change.State != sdk.StateActivated {
				continue
			}
			var address string
			if err := in.Host.Invoke(ctx, "Net", "address", nil, &address); err != nil {
				in.Log.Warn("Net has no address yet", "error", err)
			}
		}
	}
	_ = follow
}
