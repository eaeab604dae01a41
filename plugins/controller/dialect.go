package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// dialect is how one generation of Thunder's clients wants to be spoken to.
// Nothing below it knows that there is more than one.
type dialect interface {
	// wire returns the code and the text of a number.
	wire(n thunder.Number) thunder.Wire
	// failureStatus is the HTTP status of an answer that is an error.
	failureStatus() int
	// registered is the result of register and unregister.
	registered() any
	// snapshots tells that who registers for changes is told at once where the
	// active instances stand.
	snapshots() bool
	// status is the record of an instance; indexed is what is said when it was
	// asked for alone.
	status(r record) any
	indexed(r record) any
	// all is what a subscriber of every event is sent.
	all(callsign, event string, params json.RawMessage) any
}

// dialects are the names under which a connection may ask for one.
var dialects = map[string]dialect{
	string(configs.DialectR4): thunderR4{}, "r4": thunderR4{},
	string(configs.DialectR5): thunderR5{}, "r5": thunderR5{},
}

// dialectOf is R4 for a listener that does not say.
func dialectOf(name configs.Dialect) dialect {
	if d, ok := dialects[string(name)]; ok {
		return d
	}
	return thunderR4{}
}

// dialectKey is where the context of a request holds its listener's dialect.
type dialectKey struct{}

// dialectFor is what the address asks for with ?dialect=, or else what its
// listener speaks. The error is for the client.
func (f *Front) dialectFor(r *http.Request) (dialect, error) {
	if r.URL.RawQuery != "" {
		if name := r.URL.Query().Get("dialect"); name != "" {
			d, ok := dialects[name]
			if !ok {
				return nil, fmt.Errorf("there is no dialect %.40q: it is %q or %q", name, configs.DialectR4, configs.DialectR5)
			}
			return d, nil
		}
	}
	if d, ok := r.Context().Value(dialectKey{}).(dialect); ok {
		return d, nil
	}
	return f.dialect, nil
}

// failure is how an error reads. What a plugin answered to a call is passed on;
// where it only was the cause of something else, that has a number of its own.
func failure(d dialect, err error) *jsonrpc.Error {
	f, numbered := errors.AsType[*thunder.Error](err)
	if answered, ok := errors.AsType[*shell.PluginError](err); ok && !numbered {
		return passedOn(d, answered)
	}
	if !numbered {
		f = thunder.ErrorOf(err)
	}
	e := render(d, f.Number)
	if f.Cause == nil {
		return e
	}
	cause := strings.ReplaceAll(f.Cause.Error(), "\n", "; ")
	var data struct {
		Cause        string `json:"cause,omitempty"`
		RetryAfterMs int64  `json:"retryAfterMs,omitempty"`
	}
	switch {
	case f.Number.CauseIsText():
		e.Message = cause
	case f.CauseAddsToNumber():
		data.Cause = cause
	}
	if errors.Is(f.Cause, shell.ErrBusy) {
		data.RetryAfterMs = shell.RetryAfter.Milliseconds()
	}
	if data.Cause != "" || data.RetryAfterMs != 0 {
		e.Data = marshal(data)
	}
	return e
}

// passedOn is what a plugin answered, whose numbers are Thunder's and whose text
// is better than any of ours.
func passedOn(d dialect, p *shell.PluginError) *jsonrpc.Error {
	e := &jsonrpc.Error{Code: p.Code}
	if p.Code >= 0 {
		e = render(d, max(thunder.Number(p.Code), thunder.General))
	}
	if p.Message != "" {
		e.Message = p.Message
	}
	if jsonrpc.Valid(p.Data) {
		e.Data = p.Data
	}
	return e
}

// render returns a number as an error of which nothing more is said.
func render(d dialect, n thunder.Number) *jsonrpc.Error {
	w := d.wire(n)
	return &jsonrpc.Error{Code: w.Code, Message: w.Text}
}

// marshal renders a value of the front's own, which JSON can always hold.
func marshal(v any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
