package sdktest_test

import (
	"context"
	"errors"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

// Information lets the parrot control a subsystem.
func (p *parrot) Information() sdk.Information {
	return sdk.Information{Profile: talker, Tasks: taskRules, Controls: []string{"Location"}}
}

type subsystem struct {
	Name   string
	Active bool
}

func (p *parrot) subsystemMethods() sdk.Methods {
	return sdk.Methods{
		"set": sdk.Method(func(ctx context.Context, s subsystem) (any, error) {
			return nil, p.in.Host.SetSubsystem(ctx, s.Name, s.Active)
		}),
		"watch-subsystems": sdk.Method(func(context.Context, struct{}) (any, error) {
			p.background.Go(func() {
				for all, err := range p.in.Host.WatchSubsystems(p.life) {
					if err != nil {
						p.in.Emit("location", err.Error())
						return
					}
					for _, s := range all {
						if s.Name == "Location" {
							p.in.Emit("location", s.Active)
						}
					}
				}
			})
			return nil, nil
		}),
	}
}

// TestSubsystems sets a subsystem that the plugin controls, and watches it past
// a sleep, which the subsystem outlasts.
func TestSubsystems(t *testing.T) {
	h := sdktest.Start(t, options)
	hear := func(want bool) {
		t.Helper()
		var got any
		if h.WaitEvent("location", &got); got != want {
			t.Errorf("heard %v, want %v", got, want)
		}
	}
	set := func(active bool) {
		t.Helper()
		if err := h.Call("set", subsystem{"Location", active}, nil); err != nil {
			t.Error(err)
		}
	}
	if err := h.Call("watch-subsystems", nil, nil); err != nil {
		t.Fatal(err)
	}
	hear(false)
	set(true)
	hear(true)
	err := h.Call("set", subsystem{"Network", true}, nil)
	if e, ok := errors.AsType[*shell.PluginError](err); !ok || e.Code != sdk.PrivilegedRequest {
		t.Errorf("set another's subsystem: %v", err)
	}
	h.Hibernate()
	h.Wake()
	hear(true)
	set(false)
	hear(false)
}
