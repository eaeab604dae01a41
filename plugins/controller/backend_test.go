package controller

import (
	"errors"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// The front is also an instance, which plugins and gRPC clients call.
func TestBackend(t *testing.T) {
	h := newHost(t, setup{})
	own, _ := h.supervisor.Shell(configs.ControllerCallsign)
	result, err := own.Invoke(t.Context(), shell.Call{Method: "framework"})
	if err != nil || string(result) != `{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}` {
		t.Errorf("got %s, %v", result, err)
	}
	_, err = own.Invoke(t.Context(), shell.Call{Method: "activate", Params: []byte(`{"callsign":"Nope"}`)})
	if answered, ok := errors.AsType[*shell.PluginError](err); !ok || answered.Code != 22 {
		t.Errorf("got %v", err)
	}
	if exists, err := own.Exists(t.Context(), "activate"); !exists || err != nil {
		t.Errorf("got %v, %v", exists, err)
	}
}
