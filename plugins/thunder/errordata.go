package thunder

import (
	"encoding/json"
	"errors"
	"reflect"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/peer"
	"dormouse/shell"
)

// ErrorData is what clients get of an error besides its number and text, as JSON.
type ErrorData struct {
	// Cause is the text of the cause, empty if it adds nothing to the number or stands
	// elsewhere.
	Cause string `json:"cause,omitempty"`
	// RetryAfterMs is when to try again, in milliseconds; 0 if that is not known.
	RetryAfterMs int64 `json:"retryAfterMs,omitempty"`
	// Delivered says of a call that got no answer in time whether the plugin has got it, or
	// may have.
	Delivered *bool `json:"delivered,omitempty"`
	// Options are parameters of the method, each of which set to true would lift the refusal.
	Options []string `json:"options,omitempty"`
}

// Liftable is an error that parameters of the method lift, each when it is true.
type Liftable interface {
	error
	LiftedBy() (options []string)
}

// DataOf returns what clients get of an error, without its cause.
func DataOf(err error) ErrorData {
	var d ErrorData
	if errors.Is(err, shell.ErrBusy) || errors.Is(err, peer.ErrNoMemory) {
		d.RetryAfterMs = shell.RetryAfter.Milliseconds()
	}
	if asleep, ok := errors.AsType[*shell.AsleepError](err); ok {
		d.RetryAfterMs = asleep.RetryAfter().Milliseconds()
	}
	if late, ok := errors.AsType[*shell.CallTimeoutError](err); ok {
		d.Delivered = &late.Delivered
	}
	if refused, ok := errors.AsType[Liftable](err); ok {
		d.Options = refused.LiftedBy()
	}
	return d
}

// JSONOrNil returns the data as a JSON object, nil if it says nothing.
func (d ErrorData) JSONOrNil() json.RawMessage {
	if reflect.ValueOf(d).IsZero() {
		return nil
	}
	return jsonrpc.MustMarshal(d)
}
