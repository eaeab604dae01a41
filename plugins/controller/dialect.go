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
	"dormouse/shell"
)

// dialect is how one generation of Thunder's clients wants to be spoken to.
// Nothing below it knows that there is more than one.
type dialect interface {
	// wire is how a number of the table reads.
	wire(n number, c condition) wire
	// undefined is how a number reads that the table does not hold, native how
	// one reads that a native interface failed with.
	undefined(n number) wire
	native(n number) int
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
	f, numbered := errors.AsType[*fault](err)
	if answered, ok := errors.AsType[*shell.PluginError](err); ok && !numbered {
		return passedOn(d, answered)
	}
	if !numbered {
		f = faultOf(err)
	}
	e := render(d, f.number)
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
		e = render(d, max(number(p.Code), general))
	}
	if p.Message != "" {
		e.Message = p.Message
	}
	if jsonrpc.Valid(p.Data) {
		e.Data = p.Data
	}
	return e
}

// Thunder marks two kinds of numbers by a bit: those of native interfaces, and
// those that a vendor made up, whose other bits are a signed number of its own.
const (
	nativeBit number = 1 << 31
	customBit number = 1 << 24
)

// render is how a number reads that nothing more is said of.
func render(d dialect, n number) *jsonrpc.Error {
	switch {
	case n > 0 && n&nativeBit != 0:
		n &^= nativeBit
		return &jsonrpc.Error{Code: d.native(n), Message: render(d, n).Message}
	case n > 0 && n&customBit != 0:
		own := int(int32(n<<8) >> 8) //nolint:gosec // the low 24 bits are meant
		return &jsonrpc.Error{Code: own, Message: fmt.Sprintf("Undefined Custom Error: %d", own)}
	}
	w := d.undefined(n)
	if c, known := conditions[n]; known {
		w = d.wire(n, c)
	}
	return &jsonrpc.Error{Code: w.code, Message: w.text}
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
