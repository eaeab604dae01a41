package main

import (
	"encoding/json"
	"testing"

	"dormouse/plugins/sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, &echo{}) }

func TestEcho(t *testing.T) {
	h := sdktest.Start(t, sdktest.Options{})
	for _, params := range []string{`{"a":[1,2.50,"<"]}`, `[]`, `"text"`, `12345678901234567890`} {
		var answer, event json.RawMessage
		if err := h.Call("echo", json.RawMessage(params), &answer); err != nil {
			t.Fatal(err)
		}
		h.WaitEvent("echoed", &event)
		want, err := json.Marshal(json.RawMessage(params)) // as the harness sent them
		if err != nil {
			t.Fatal(err)
		}
		if string(answer) != string(want) || string(event) != string(want) {
			t.Errorf("asked %s, got %s and the event %s", want, answer, event)
		}
	}
}
