package jsonrpc

import (
	"bytes"
	"encoding/json"
)

// FindID returns the id of a request that may be cut off at its end, nil if the text up to
// there has none.
func FindID(message []byte) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(message))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil
		}
		if cutOff := d.InputOffset() == int64(len(message)); name == "id" && !cutOff && isScalarID(value) {
			return value
		}
	}
	return nil
}

// isScalarID reports whether a value may be an id: a number, a string or null.
func isScalarID(value json.RawMessage) bool {
	return len(value) > 0 && value[0] != '{' && value[0] != '[' && value[0] != 't' && value[0] != 'f'
}
