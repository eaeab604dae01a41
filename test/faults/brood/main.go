// Command brood is a plugin that makes virtual plugins: those that its configuration names whenever
// it starts, and others by its methods. Each counts calls in its state with the host.
package main

import (
	"context"
	"errors"
	"strings"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&brood{}) }

type brood struct{ host *sdk.Host }

type configuration struct {
	Version string   `json:"version"`
	Create  []string `json:"create"` // callsigns
	Fails   bool     `json:"fails"`  // to initialize, after it has changed their state
}

func (b *brood) Initialize(ctx context.Context, in *sdk.Instance) error {
	b.host = in.Host
	var c configuration
	if err := in.Configuration.Decode(&c); err != nil {
		return err
	}
	for _, callsign := range c.Create {
		if err := in.Host.CreateVirtual(ctx, named(callsign)); err != nil {
			return err
		}
	}
	if c.Fails {
		for _, callsign := range c.Create {
			if err := b.spoil(ctx, callsign); err != nil {
				return err
			}
		}
		return errors.New("it fails, as it was told")
	}
	return nil
}

// spoil changes the count of a virtual plugin, and puts a blob into its state.
func (b *brood) spoil(ctx context.Context, callsign string) error {
	state := b.host.StateOf(callsign)
	if _, _, err := state.Set(ctx, "count", 1000); err != nil {
		return err
	}
	_, err := state.PutBlob(ctx, "paper", "text/plain", strings.NewReader("spoilt"))
	return err
}

func (b *brood) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (b *brood) Suspend(context.Context) error { return nil }

func (b *brood) Resume(context.Context) error { return nil }

// OperateVirtual refuses to have the first of the brood destroyed.
func (b *brood) OperateVirtual(_ context.Context, callsign string, o sdk.VirtualOperation, _ sdk.Reason) error {
	if callsign == "First" && o == sdk.VirtualDestroy {
		return errors.New("it is still needed")
	}
	return nil
}

// named returns the virtual plugin of that callsign.
func named(callsign string) sdk.Virtual {
	return sdk.Virtual{Callsign: callsign, Name: "brood-" + callsign, Version: "1.0.0", Description: "one of a brood"}
}

func (b *brood) Methods() sdk.Methods {
	return sdk.Methods{
		"create": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			return nil, b.host.CreateVirtual(ctx, named(callsign))
		}),
		"remove": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			return nil, b.host.RemoveVirtual(ctx, callsign)
		}),
		"who": sdk.Method(func(ctx context.Context, _ struct{}) (string, error) { return sdk.VirtualOf(ctx), nil }),
		// count counts the calls of the virtual plugin, or of the plugin itself, in its state.
		"count": sdk.Method(func(ctx context.Context, _ struct{}) (count int, err error) {
			state := b.host.StateOf(sdk.VirtualOf(ctx))
			switch e, err := state.Get(ctx, "count"); {
			case err == nil:
				err = e.Decode(&count)
				if err != nil {
					return 0, err
				}
			case !errors.Is(err, sdk.ErrNotFound):
				return 0, err
			}
			_, _, err = state.Set(ctx, "count", count+1)
			return count + 1, err
		}),
	}
}
