package controller

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"dormouse/internal/jsonrpc"
	"dormouse/shell"
)

// dialect is how one generation of Thunder's clients wants to be spoken to.
// Nothing below it knows that there is more than one.
type dialect interface {
	// failure is how an error reads.
	failure(err error) *jsonrpc.Error
	// failureStatus is the HTTP status of an answer that is an error.
	failureStatus() int
	// registered is the result of register and unregister.
	registered() any
	// status is the record of an instance; indexed tells that it was asked for
	// alone.
	status(r record) any
	indexed(r record) any
	// all is what a subscriber of every event is sent.
	all(callsign, event string, params json.RawMessage) any
}

// thunderR4 is what the devices in the field speak.
type thunderR4 struct{}

func (thunderR4) failureStatus() int { return http.StatusAccepted }

func (thunderR4) registered() any { return 0 }

func (thunderR4) failure(err error) *jsonrpc.Error {
	if answered, ok := errors.AsType[*shell.PluginError](err); ok {
		return r4Answered(answered)
	}
	f := faultOf(err)
	e := r4Error(f.number)
	if f.cause == nil {
		return e
	}
	cause := strings.ReplaceAll(f.cause.Error(), "\n", "; ")
	var data struct {
		Cause        string `json:"cause,omitempty"`
		RetryAfterMs int64  `json:"retryAfterMs,omitempty"`
	}
	switch {
	case conditions[f.number].spoken:
		e.Message = cause
	case !f.bare():
		data.Cause = cause
	}
	if errors.Is(f.cause, shell.ErrBusy) {
		data.RetryAfterMs = retryAfter.Milliseconds()
	}
	if data.Cause != "" || data.RetryAfterMs != 0 {
		e.Data = marshal(data)
	}
	return e
}

// r4Answered passes on what a plugin answered, whose numbers are Thunder's and
// whose text is better than any of ours.
func r4Answered(p *shell.PluginError) *jsonrpc.Error {
	e := &jsonrpc.Error{Code: p.Code}
	if p.Code >= 0 {
		e = r4Error(max(number(p.Code), general))
	}
	if p.Message != "" {
		e.Message = p.Message
	}
	if jsonrpc.Valid(p.Data) {
		e.Data = p.Data
	}
	return e
}

func r4Error(n number) *jsonrpc.Error {
	c, known := conditions[n]
	switch {
	case !known:
		return &jsonrpc.Error{Code: int(n), Message: "ERROR_GENERAL"}
	case c.r4 == wire{}:
		return &jsonrpc.Error{Code: int(n), Message: "ERROR_" + c.name}
	}
	return &jsonrpc.Error{Code: c.r4.code, Message: c.r4.text}
}

func (thunderR4) status(r record) any { return r }

func (thunderR4) indexed(r record) any { return []record{r} }

// all names the event too: without it, nobody could tell a plugin's events apart.
func (thunderR4) all(callsign, event string, params json.RawMessage) any {
	return struct {
		Callsign string          `json:"callsign"`
		Data     json.RawMessage `json:"data,omitempty"`
		Event    string          `json:"event"`
	}{callsign, params, event}
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

// pascal is a state or a reason in Thunder's spelling: "memory exceeded" is
// MemoryExceeded.
func pascal(text string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(text) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
