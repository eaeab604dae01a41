package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
)

// TestMain lets the test binary be the counter and its children too.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childCommand {
		os.Exit(runChild(os.Args[2], os.Stdin, os.Stdout))
	}
	// With the race detector each child would take a second to end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	sdktest.Main(m, newCounter())
}

func start(t *testing.T, configuration string) *counter {
	t.Helper()
	c := newCounter()
	in := &sdk.Instance{Configuration: sdk.Configuration(configuration), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if err := c.Initialize(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Deinitialize(context.Background(), sdk.Requested); err != nil {
			t.Error(err)
		}
	})
	return c
}

// call returns the result as JSON.
func call(t *testing.T, c *counter, method, params string) (string, error) {
	t.Helper()
	result, err := c.Methods()[method](t.Context(), sdk.Call{Method: method, Params: json.RawMessage(params)})
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func must[T any](t *testing.T, c *counter, method, params string) (result T) {
	t.Helper()
	text, err := call(t, c, method, params)
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestCount(t *testing.T) {
	c := start(t, `{"start": 41}`)
	for _, test := range []struct{ method, params, want string }{
		{"get", ``, `{"value":41}`},
		{"increment", ``, `{"value":42}`},
		{"increment", `{"by": 8}`, `{"value":50}`},
		{"increment", `{"by": -50}`, `{"value":0}`},
		{"increment", `{"by": 0}`, `{"value":0}`},
		{"get", `{}`, `{"value":0}`},
	} {
		if got, err := call(t, c, test.method, test.params); err != nil || got != test.want {
			t.Errorf("%s %s: got %s, %v, want %s", test.method, test.params, got, err, test.want)
		}
	}
	const callers, each = 8, 100
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for range each {
				must[value](t, c, "increment", "")
			}
		})
	}
	wait.Wait()
	if got := must[value](t, c, "get", ""); got.Value != callers*each {
		t.Errorf("counted to %d, want %d", got.Value, callers*each)
	}
}

func TestRefused(t *testing.T) {
	c := start(t, "")
	for _, test := range []struct{ method, params, want string }{
		{"get", `{"by": 1}`, `invalid parameters: unknown field "by"`},
		{"increment", `{"by": "1"}`, "invalid parameters: by must be a whole number, not string"},
		{"fill", `{"mib": -1}`, "invalid parameters: mib must be from 0 to 4096"},
		{"fill", `{"mib": 4097}`, "invalid parameters: mib must be from 0 to 4096"},
		{"fill", `{"mib": 1, "pattern": "stripes"}`, `invalid parameters: pattern must be random, zero or text, not "stripes"`},
		{"spawn", `{"depth": 9}`, "invalid parameters: depth must be from 0 to 8"},
	} {
		_, err := call(t, c, test.method, test.params)
		refused, ok := errors.AsType[*sdk.Error](err)
		if !ok || refused.Code != sdk.InvalidParameter || refused.Message != test.want {
			t.Errorf("%s %s: got %v", test.method, test.params, err)
		}
	}
	err := newCounter().Initialize(t.Context(), &sdk.Instance{Configuration: sdk.Configuration(`{"begin": 1}`)})
	if want := `cannot read the configuration: unknown field "begin"`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClock(t *testing.T) {
	c := start(t, "")
	first := must[clock](t, c, "clock", "")
	second := must[clock](t, c, "clock", "")
	if second.UptimeMs < first.UptimeMs || second.Unix < first.Unix || first.Unix == 0 {
		t.Errorf("the clock went from %+v to %+v", first, second)
	}
}
