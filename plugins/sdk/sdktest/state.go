package sdktest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"dormouse/plugins/state"
)

// fillState sets keys of the plugin's state.
func (h *Harness) fillState(keys map[string]any) {
	h.t.Helper()
	for key, value := range keys {
		raw, err := json.Marshal(value)
		if err == nil {
			_, _, err = h.host.State.Change(h.t.Context(), h.callsign, state.Change{Key: key, Value: raw})
		}
		if err != nil {
			h.t.Fatalf("cannot set the key %q: %v", key, err)
		}
	}
}

// KeptKey decodes the value of a key that the plugin keeps with the host into v, and reports
// whether there is such a key.
func (h *Harness) KeptKey(key string, v any) (found bool) {
	h.t.Helper()
	e, err := h.host.State.Get(h.t.Context(), h.callsign, key)
	if errors.Is(err, state.ErrNotFound) {
		return false
	}
	if err == nil {
		err = json.Unmarshal(e.Value, v)
	}
	h.failTestOnError(fmt.Sprintf("read the key %q of", key), err)
	return true
}

// KeptBlob returns a blob that the plugin keeps with the host, and reports whether there is such
// a blob.
func (h *Harness) KeptBlob(name string) (content []byte, found bool) {
	h.t.Helper()
	b, err := h.host.State.OpenBlob(h.t.Context(), h.callsign, name)
	if errors.Is(err, state.ErrNotFound) {
		return nil, false
	}
	if err == nil {
		defer b.Close()
		content, err = io.ReadAll(b)
	}
	h.failTestOnError(fmt.Sprintf("read the blob %q of", name), err)
	return content, true
}
