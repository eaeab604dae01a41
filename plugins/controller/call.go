package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/peer"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// caller is the sender of a message.
type caller struct {
	// socket is the caller's websocket, nil over plain HTTP.
	socket *socket
	// client is what the host knows of the sender.
	client access.Client
	// callsign is the instance that the path names, empty when it names none.
	callsign string
	// dialect is the dialect to answer in, nil for the front's own.
	dialect dialect.Dialect
	// share is what the client has of the host's memory, nil for no bounds.
	share *peer.Share
}

// dialectOfCaller returns the dialect in which the caller is answered, by default the
// front's own.
func (f *Front) dialectOfCaller(from caller) dialect.Dialect {
	if from.dialect == nil {
		return f.dialect
	}
	return from.dialect
}

// reply is the answer to a message.
type reply struct {
	// body is nil when nothing is answered.
	body    []byte
	outcome outcome
	// taken is how many bytes the reply has of the client's share of the memory.
	taken int
	share *peer.Share
}

// release gives the reply's memory back. It must be called once the reply has been sent, or
// won't be.
func (r reply) release() { r.share.GiveBack(r.taken) }

// bytesOfCall is the memory of a call under way besides that of its message.
const bytesOfCall = 16 << 10

// bytesWithMessage returns the memory of a call under way with a message of that length, which
// is there twice: as the client's and as the plugin's.
func bytesWithMessage(length int) int { return 2*length + bytesOfCall }

// outcome decides the HTTP status of a reply.
type outcome int

const (
	succeeded       outcome = iota // also a batch, whatever its requests did
	failed                         // the message was one request, and it failed
	malformed                      // the message is not a request
	refused                        // the message was one request, and the caller's role is too low
	unauthenticated                // the same, and the host does not know the caller
)

// answerMessage serves a message, which is one request or a batch, and returns the
// answers. The caller must release the reply.
func (f *Front) answerMessage(ctx context.Context, from caller, message []byte) reply {
	m, err := jsonrpc.Split(message)
	switch {
	case err != nil:
		return f.callAndAnswer(ctx, from, jsonrpc.Request{Err: err})
	case !m.Batch:
		return f.callAndAnswer(ctx, from, m.Requests[0])
	}
	return f.answerBatch(ctx, from, m.Requests)
}

// answerBatch serves the requests of a batch one after the other, so that a script can be
// sent as one.
func (f *Front) answerBatch(ctx context.Context, from caller, requests []jsonrpc.Request) reply {
	var body []byte
	taken := 0
	for _, r := range requests {
		one := f.callAndAnswer(ctx, from, r)
		if one.body != nil {
			body = append(append(body, ','), one.body...)
		}
		taken += one.taken
	}
	if body != nil {
		body[0] = '['
		body = append(body, ']')
	}
	return reply{body: body, taken: taken, share: from.share}
}

// refuseForMemory returns the answer to a message for which the client's share of the memory
// has no room. The message may lack its end.
func (f *Front) refuseForMemory(from caller, message []byte) reply {
	id := jsonrpc.Null
	if from.socket != nil {
		id = nil // as Thunder does without an id
	}
	if known := jsonrpc.FindID(message); known != nil {
		id = known
	}
	answer := jsonrpc.Response{ID: id, Error: dialect.ErrorFor(f.dialectOfCaller(from), errNoMemoryForCall)}
	return reply{body: answer.Append(nil), outcome: failed}
}

// callAndAnswer calls the method of a request and returns its answer. A notification, a
// request without an id, is answered only if it fails, and its call runs on when the
// client has gone.
func (f *Front) callAndAnswer(ctx context.Context, from caller, r jsonrpc.Request) reply {
	if r.Err != nil {
		return f.answerInvalidRequest(from, r)
	}
	if r.ID == nil {
		ctx = context.WithoutCancel(ctx) // a notification runs on when its sender has gone
	}
	result, err := f.countAndCallMethod(ctx, from, r)
	switch {
	case err != nil:
		answer := jsonrpc.Response{ID: r.ID, Error: dialect.ErrorFor(f.dialectOfCaller(from), err)}
		return reply{body: answer.Append(nil), outcome: failureOutcome(err)}
	case r.ID == nil:
		return reply{}
	}
	size := len(result) + len(r.ID) + 40
	if err := from.share.Take(size); err != nil {
		answer := jsonrpc.Response{ID: r.ID, Error: dialect.ErrorFor(f.dialectOfCaller(from), thunder.NewError(thunder.RPCCallFailed, errNoMemoryForAnswer))}
		return reply{body: answer.Append(nil), outcome: failed}
	}
	answer := jsonrpc.Response{ID: r.ID, Result: result}
	return reply{body: answer.Append(make([]byte, 0, size)), taken: size, share: from.share}
}

// errNoMemoryForCall means that a call was refused because of the memory that it takes.
var errNoMemoryForCall = fmt.Errorf("cannot take the call: %w", peer.ErrNoMemory)

// errNoMemoryForAnswer means that a call was carried out and its answer dropped.
var errNoMemoryForAnswer = errors.New("the call was carried out, and its answer dropped: this client has not taken enough of what it was sent")

// failureOutcome returns the outcome of a request that failed with err.
func failureOutcome(err error) outcome {
	switch refusalHTTPStatus(err) {
	case http.StatusForbidden:
		return refused
	case http.StatusUnauthorized:
		return unauthenticated
	default:
		return failed
	}
}

// answerInvalidRequest answers a message that is not a request. An id that is not known is
// null, but left out on a websocket, as Thunder does: Thunder's clients match answers
// by their id.
func (f *Front) answerInvalidRequest(from caller, r jsonrpc.Request) reply {
	n, why := thunder.NotRequest, malformed
	switch {
	case errors.Is(r.Err, jsonrpc.ErrSyntax):
		n = thunder.NotJSON
	case errors.Is(r.Err, jsonrpc.ErrNoMethod):
		why = failed
	}
	if r.ID == nil && from.socket == nil {
		r.ID = jsonrpc.Null
	}
	answer := jsonrpc.Response{ID: r.ID, Error: dialect.ErrorFor(f.dialectOfCaller(from), thunder.NewError(n, r.Err))}
	return reply{body: answer.Append(nil), outcome: why}
}

// countAndCallMethod finds the instance and the method of a request, calls it and counts the
// call. If the call panics, countAndCallMethod logs that and returns InternalError.
func (f *Front) countAndCallMethod(ctx context.Context, from caller, r jsonrpc.Request) (result json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			f.log.Error().Str("method", r.Method).Any("panic", p).Bytes("stack", debug.Stack()).Msg("a call panicked")
			result, err = nil, thunder.NewError(thunder.InternalError, nil)
		}
	}()
	d, err := jsonrpc.ParseDesignator(r.Method)
	if err != nil {
		return nil, thunder.NewError(thunder.InvalidDesignator, err)
	}
	sh, err := f.findTarget(from, d)
	if err != nil {
		return nil, err
	}
	f.callCounts.increment(sh.Callsign())
	c := shell.Call{Method: d.Method, Index: d.Index, Params: r.Params}
	toHost := request{front: f, from: from, shell: sh, index: c.Index, raw: c.Params}
	if m, ok := toHost.findCommonMethod(ctx, d.Method); ok {
		return m.checkAccessAndServe(ctx, toHost)
	}
	if sh.Callsign() == configs.ControllerCallsign {
		return f.callController(ctx, from, c)
	}
	return f.checkAccessAndCallInstance(ctx, from, sh, c)
}

// checkAccessAndCallInstance checks that the caller may call the method of the instance,
// and passes the call on to it.
func (f *Front) checkAccessAndCallInstance(ctx context.Context, from caller, sh *shell.Shell, c shell.Call) (json.RawMessage, error) {
	needed, target := f.neededForInstance(sh, c)
	if err := f.checkAccess(from, needed, target); err != nil {
		return nil, err
	}
	result, err := callPlugin(ctx, sh, c)
	f.audit.LogChange(from.client, needed, []access.Target{target}, auditedResult(err))
	return result, f.errorForCaller(from, target, err)
}

// findCommonMethod returns the method of that name that the host itself serves for
// every instance. It returns false if there is none, or it is not offered for the
// request's instance.
func (r request) findCommonMethod(ctx context.Context, name string) (_ *method, offered bool) {
	m, ok := r.front.common[name]
	if ok && m.offeredFor != nil && !m.offeredFor(ctx, r) {
		return nil, false
	}
	return m, ok
}

// callController calls a method of the callsign Controller. The call does not go
// through the lane or the call timeout of the instance: a lifecycle operation may take
// longer.
func (f *Front) callController(ctx context.Context, from caller, c shell.Call) (json.RawMessage, error) {
	m, ok := f.methods[c.Method]
	if !ok {
		return nil, thunder.NewError(thunder.UnknownMethod, nil)
	}
	return m.checkAccessAndServe(ctx, request{front: f, from: from, index: c.Index, raw: c.Params})
}

// callPlugin passes a call on to the instance's plugin. The plugin's own error is
// returned as it is, any other with a number. A result that is not JSON is
// InternalError.
func callPlugin(ctx context.Context, sh *shell.Shell, c shell.Call) (json.RawMessage, error) {
	result, err := sh.Invoke(ctx, c)
	if err != nil {
		if answered, ok := errors.AsType[*shell.PluginError](err); ok {
			return nil, answered
		}
		return nil, thunder.WithCallNumber(err)
	}
	if len(result) > 0 && !jsonrpc.IsJSONInUTF8(result) {
		return nil, thunder.NewError(thunder.InternalError, errors.New("the plugin's result is not JSON"))
	}
	return result, nil
}
