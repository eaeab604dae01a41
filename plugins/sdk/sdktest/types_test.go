package sdktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

// talker is what others find the parrot by: its method say takes a word of four letters.
var talker = sdk.Profile{
	Tags:     []string{"bird"},
	Provides: []sdk.Type{{Name: "talker", Version: "1.2.0", Methods: []sdk.TypeMethod{{Name: "say", Params: json.RawMessage(`{"properties":{"word":{"maxLength":4}},"required":["word"]}`)}}}},
	Uses:     []sdk.Use{{Type: "talker", Range: "^1"}},
}

// typeMethods are the methods with which the parrot finds others and has them talk.
func (p *parrot) typeMethods() sdk.Methods {
	type said struct {
		Word   string `json:"word"`
		Caller string `json:"caller"`
	}
	return sdk.Methods{
		"say": sdk.Method(func(ctx context.Context, in said) (said, error) {
			return said{in.Word, sdk.CallerOf(ctx)}, nil
		}),
		"find": sdk.Method(func(ctx context.Context, versions string) ([]string, error) {
			found, err := p.in.Host.Find(ctx, sdk.Use{Type: "talker", Tags: []string{"bird", "!fish"}, Range: versions})
			callsigns := []string{}
			for _, f := range found {
				callsigns = append(callsigns, f.Callsign+" "+f.Type.Version)
			}
			return callsigns, err
		}),
		"have": sdk.Method(func(ctx context.Context, word string) (answer said, err error) {
			other, err := p.in.Host.Open(ctx, "Other")
			if err == nil {
				err = other.Invoke(ctx, "say", map[string]string{"word": word, "caller": "Forged"}, &answer)
			}
			return answer, err
		}),
		"open": sdk.Method(func(ctx context.Context, callsign string) (string, error) {
			other, err := p.in.Host.Open(ctx, callsign)
			return string(other.State), err
		}),
	}
}

func TestFindAndOpen(t *testing.T) {
	with := options
	with.Beside = []string{"Other"}
	h := sdktest.Start(t, with)
	for versions, want := range map[string]int{"": 1, "^1.1": 1, ">=2": 0} {
		var found []string
		if err := h.Call("find", versions, &found); err != nil || len(found) != want || want == 1 && found[0] != "Other 1.2.0" {
			t.Errorf("%q: found %q, %v", versions, found, err)
		}
	}
	var answer struct{ Word, Caller string }
	if err := h.Call("have", "word", &answer); err != nil || answer.Word != "word" || answer.Caller != "Test" {
		t.Errorf("got %+v, %v", answer, err)
	}
	for name, call := range map[string]func() error{
		"a range that is none":    func() error { return h.Call("find", "x y", nil) },
		"a word that is too long": func() error { return h.Call("have", "words", nil) },
	} {
		err := call()
		if answered, ok := errors.AsType[*shell.PluginError](err); !ok || answered.Code != sdk.InvalidParameter {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := h.Call("say", map[string]string{"word": "words"}, nil); !errors.Is(err, shell.ErrInvalidParams) {
		t.Errorf("a client's word that is too long: got %v", err)
	}
	if err := h.Call("open", "Nobody", nil); err == nil {
		t.Error("nobody was opened")
	}
}
