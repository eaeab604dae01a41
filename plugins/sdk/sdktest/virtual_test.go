package sdktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

// virtualMethods make virtual plugins of the parrot, and say which one a call is about.
func (p *parrot) virtualMethods() sdk.Methods {
	return sdk.Methods{
		"hatch": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			return nil, p.in.Host.CreateVirtual(ctx, sdk.Virtual{Callsign: callsign, Version: "1.2.3", Tags: []string{"bird"}, Configuration: map[string]string{"word": callsign}})
		}),
		"rename": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			return nil, p.in.Host.UpdateVirtual(ctx, sdk.Virtual{Callsign: callsign, Name: "renamed"})
		}),
		"fly": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			return nil, p.in.Host.RemoveVirtual(ctx, callsign)
		}),
		"brood": sdk.Method(func(ctx context.Context, _ struct{}) ([]sdk.Virtual, error) {
			return p.in.Host.ListVirtual(ctx)
		}),
		"who": sdk.Method(func(ctx context.Context, _ struct{}) (string, error) {
			return sdk.VirtualOf(ctx) + " called by " + sdk.CallerOf(ctx), nil
		}),
		// visit calls another instance as the virtual plugin that the call is about.
		"visit": sdk.Method(func(ctx context.Context, callsign string) (who string, err error) {
			err = p.in.Host.As(sdk.VirtualOf(ctx)).Invoke(ctx, callsign, "who", nil, &who)
			return who, err
		}),
		"steal": sdk.Method(func(ctx context.Context, callsign string) (who string, err error) {
			err = p.in.Host.As(callsign).Invoke(ctx, p.in.Callsign, "who", nil, &who)
			return who, err
		}),
		"chirp": sdk.Method(func(ctx context.Context, _ struct{}) (any, error) {
			p.in.EmitFor(sdk.VirtualOf(ctx), "", "chirped", nil)
			return nil, p.in.Host.As(sdk.VirtualOf(ctx)).Notify(ctx, "notified", nil)
		}),
	}
}

// OperateVirtual refuses what would end the parrot's favorite.
func (p *parrot) OperateVirtual(_ context.Context, callsign string, o sdk.VirtualOperation, _ sdk.Reason) error {
	p.in.Emit("asked", string(o)+" "+callsign)
	if callsign == "Favorite" && o != sdk.VirtualRestart {
		return errors.New("not my favorite")
	}
	return nil
}

// Process answers with what the message is for.
func (p *parrot) Process(ctx context.Context, flow string, _ sdk.Message) ([]sdk.Message, error) {
	return []sdk.Message{{Topic: flow, Body: []byte(sdk.VirtualOf(ctx))}}, nil
}

// A plugin makes virtual plugins, serves their calls, messages and events, and speaks for them.
func TestVirtual(t *testing.T) {
	with := options
	with.Beside = []string{"Other"}
	h := sdktest.Start(t, with)
	must := func(h *sdktest.Harness, method string, params, result any) {
		t.Helper()
		if err := h.Call(method, params, result); err != nil {
			t.Fatalf("%s %v: %v", method, params, err)
		}
	}
	must(h, "hatch", "Chick", nil)
	must(h, "hatch", "Chick", nil)
	must(h, "hatch", "Favorite", nil)
	if err := h.Call("hatch", "Other", nil); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("it took the callsign of another: %v", err)
	}
	chick := h.Virtual("Chick")
	if state := chick.State(); state != shell.Activated {
		t.Errorf("it is %s", state)
	}
	var brood []sdk.Virtual
	must(h, "brood", nil, &brood)
	if configuration, _ := json.Marshal(brood[0].Configuration); len(brood) != 2 || brood[0].Callsign != "Chick" || brood[0].Name != "Chick" || brood[0].Version != "1.2.3" ||
		!slices.Equal(brood[0].Tags, []string{"bird"}) || brood[0].State != sdk.StateActivated || string(configuration) != `{"word":"Chick"}` {
		t.Errorf("it has %+v", brood)
	}

	check := func(h *sdktest.Harness, method string, params any, want string) {
		t.Helper()
		var got string
		if must(h, method, params, &got); got != want {
			t.Errorf("%s: got %q, want %q", method, got, want)
		}
	}
	serves := func() {
		t.Helper()
		check(h, "who", nil, " called by ")
		check(chick, "who", nil, "Chick called by ")
		check(chick, "visit", "Other", " called by Chick")
		check(chick, "visit", "Favorite", "Favorite called by Chick")
		results, err := chick.Process("f", sdk.Message{})
		if err != nil || len(results) != 1 || string(results[0].Body) != "Chick" {
			t.Errorf("got %+v, %v", results, err)
		}
		must(chick, "chirp", nil, nil)
		chick.WaitEvent("chirped", nil)
		chick.WaitEvent("notified", nil)
	}
	serves()
	for _, notOwn := range []string{"Other", "Nothing"} {
		if err := h.Call("steal", notOwn, nil); err == nil {
			t.Errorf("the plugin spoke for %s", notOwn)
		}
	}

	chick.Deactivate()
	var asked string
	if h.WaitEvent("asked", &asked); asked != "deactivate Chick" {
		t.Errorf("it was asked to %s", asked)
	}
	if err := chick.Call("who", nil, nil); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("a deactivated one was called: %v", err)
	}
	if err := h.Virtual("Favorite").Destroy(); !errors.Is(err, shell.ErrRefused) || !strings.Contains(err.Error(), "not my favorite") {
		t.Errorf("it was destroyed: %v", err)
	}
	if err := chick.Destroy(); err != nil {
		t.Error(err)
	}
	must(h, "hatch", "Chick", nil)
	chick = h.Virtual("Chick")
	must(h, "rename", "Chick", nil)
	serves()

	h.Hibernate()
	if state := chick.State(); state != shell.Hibernated {
		t.Errorf("its plugin sleeps, and it is %s", state)
	}
	h.Wake()
	serves()
	must(h, "fly", "Chick", nil)
	must(h, "fly", "Chick", nil)
	if left := h.VirtualCallsigns(); !slices.Equal(left, []string{"Favorite"}) {
		t.Errorf("%v are left", left)
	}
	h.Deactivate()
	if state := h.Virtual("Favorite").State(); state != shell.Precondition {
		t.Errorf("its plugin is down, and it is %s", state)
	}
}
