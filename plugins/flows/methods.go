package flows

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/internal/queue"
	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// method is one method of Flows. None waits for an operation of an instance or a package.
type method struct {
	access access.Role
	serve  func(ctx context.Context, f *Flows, params json.RawMessage) (any, error)
}

// methods are the methods by name.
var methods = map[string]method{
	"publish": {access.Call, servePublish},

	"list":   {access.Read, serveList},
	"show":   {access.Read, serveShow},
	"status": {access.Read, serveStatus},

	"run":   {access.Operate, serveSetState(configs.FlowRunning)},
	"pause": {access.Operate, serveSetState(configs.FlowPaused)},
	"stop":  {access.Operate, serveSetState(configs.FlowStopped)},

	"dead":        {access.Read, serveDead},
	"showdead":    {access.Operate, serveShowDead},
	"retrydead":   {access.Operate, serveRetryDead},
	"discarddead": {access.Operate, serveDiscardDead},
}

// NeededAccess returns the role that a caller needs for a call of Flows, and what the call is
// about. A method that Flows does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	m, ok := methods[c.Method]
	if !ok {
		return access.Read, about
	}
	return m.access, about
}

// readParams decodes the parameters of a call into to. A member that to does not have is an
// ErrBadRequest.
func readParams(params json.RawMessage, to any) error {
	if err := jsonrpc.DecodeParams(params, to); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return nil
}

// publishParams are the parameters of publish. The body is text, or base64 of any bytes.
type publishParams struct {
	Flow        string            `json:"flow"`
	ID          string            `json:"id"`
	ContentType string            `json:"contenttype"`
	Metadata    map[string]string `json:"metadata"`
	Body        string            `json:"body"`
	Base64      []byte            `json:"base64"`
}

// receipt is what a publisher is told.
type receipt struct {
	ID   string `json:"id"`
	Seen bool   `json:"seen"`
}

// servePublish publishes a message to a source.
func servePublish(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p publishParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	if p.Body != "" && len(p.Base64) > 0 {
		return nil, fmt.Errorf("%w: give body or base64, not both", ErrBadRequest)
	}
	body := p.Base64
	if p.Body != "" {
		body = []byte(p.Body)
	}
	r, err := f.Publish(ctx, "", p.Flow, &shellpb.Message{Id: p.ID, ContentType: p.ContentType, Metadata: p.Metadata, Body: body})
	return receipt{r.ID, r.Seen}, err
}

// serveList returns all flows, and behind them the bound topics.
func serveList(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	if err := readParams(params, &struct{}{}); err != nil {
		return nil, err
	}
	all, err := f.records(ctx)
	if err != nil {
		return nil, err
	}
	remotes, err := f.remoteRecords(ctx)
	return append(all, remotes...), err
}

// flowParams name a flow.
type flowParams struct {
	Flow string `json:"flow"`
}

// serveShow returns one flow, or one bound topic by the name of its queue.
func serveShow(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p flowParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	if strings.HasPrefix(p.Flow, remotePrefix) {
		return f.remoteRecordOf(ctx, p.Flow)
	}
	w, err := f.find(p.Flow)
	if err != nil {
		return nil, err
	}
	return f.recordOf(ctx, w)
}

// totals is what all flows hold together.
type totals struct {
	Flows       map[configs.FlowState]int `json:"flows"` // how many are in each state
	Waiting     []string                  `json:"waiting"`
	Messages    int64                     `json:"messages"`
	Dead        int64                     `json:"dead"`
	Held        int64                     `json:"held"` // messages and dead letters, as the bound counts them
	Bytes       int64                     `json:"bytes"`
	MaxMessages int                       `json:"maxmessages"`
	MaxBytes    int64                     `json:"maxbytes"`
	Remotes     []RemoteTopic             `json:"remotes,omitempty"`
}

// serveStatus returns what all flows hold together, and the names of those whose messages wait
// for a reason.
func serveStatus(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	if err := readParams(params, &struct{}{}); err != nil {
		return nil, err
	}
	all, err := f.records(ctx)
	st := totals{
		Flows: make(map[configs.FlowState]int), Waiting: []string{},
		MaxMessages: f.Config.MaxMessages, MaxBytes: int64(f.Config.MaxBytes),
	}
	for _, r := range all {
		st.Flows[r.State]++
		st.Messages += r.Messages
		st.Dead += r.Dead
		if r.Messages > 0 && r.Why != "" {
			st.Waiting = append(st.Waiting, r.Name)
		}
	}
	st.Held, st.Bytes = f.Queues.Total()
	if f.RemoteTopics != nil && err == nil {
		st.Remotes, err = f.RemoteTopics(ctx)
	}
	return st, err
}

// serveSetState returns the method that sets that state, of a flow which need not exist yet.
func serveSetState(state configs.FlowState) func(context.Context, *Flows, json.RawMessage) (any, error) {
	return func(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
		var p flowParams
		if err := readParams(params, &p); err != nil {
			return nil, err
		}
		if _, err := f.SetState(p.Flow, state); err != nil {
			return nil, err
		}
		w, err := f.find(p.Flow)
		if err != nil {
			return nil, err
		}
		return f.recordOf(ctx, w)
	}
}

// Limits of one list of dead letters.
const (
	defaultDead = 100
	maxDead     = 1000
)

// deadParams name dead letters of a flow.
type deadParams struct {
	Flow  string `json:"flow"`
	After int64  `json:"after"` // list those with greater keys
	Limit int    `json:"limit"`
}

// serveDead lists dead letters of a flow, oldest first, without their content.
func serveDead(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p deadParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	key, err := f.queueNamed(p.Flow)
	if err != nil {
		return nil, err
	}
	letters, err := f.Queues.DeadLetters(ctx, key, p.After, min(max(cmp.Or(p.Limit, defaultDead), 1), maxDead))
	all := []deadRecord{}
	for _, d := range letters {
		all = append(all, deadRecordOf(d, false))
	}
	return all, err
}

// serveShowDead returns one dead letter with its content.
func serveShowDead(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p struct {
		Flow string `json:"flow"`
		Key  int64  `json:"key"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	key, err := f.queueNamed(p.Flow)
	if err != nil {
		return nil, err
	}
	d, err := f.Queues.DeadLetter(ctx, key, p.Key)
	if err != nil && !errors.Is(err, queue.ErrDamaged) {
		return nil, err
	}
	return deadRecordOf(d, true), nil
}

// keysParams name dead letters of a flow by their keys; none stands for all.
type keysParams struct {
	Flow string  `json:"flow"`
	Keys []int64 `json:"keys"`
	All  bool    `json:"all"`
}

// read reads the parameters and returns the key of the flow.
func (p *keysParams) read(f *Flows, params json.RawMessage) (flow string, err error) {
	if err := readParams(params, p); err != nil {
		return "", err
	}
	if len(p.Keys) == 0 && !p.All {
		return "", fmt.Errorf(`%w: name dead letters by "keys", or all by "all": true`, ErrBadRequest)
	}
	if len(p.Keys) > 0 && p.All {
		return "", fmt.Errorf(`%w: give "keys" or "all", not both`, ErrBadRequest)
	}
	return f.queueNamed(p.Flow)
}

// count is how many dead letters a method has changed.
type count struct {
	Count int `json:"count"`
}

// serveRetryDead puts dead letters back into the queue of their flow.
func serveRetryDead(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p keysParams
	flow, err := p.read(f, params)
	if err != nil {
		return nil, err
	}
	n, err := f.Queues.RetryDead(ctx, flow, p.Keys...)
	return count{n}, err
}

// serveDiscardDead deletes dead letters.
func serveDiscardDead(ctx context.Context, f *Flows, params json.RawMessage) (any, error) {
	var p keysParams
	flow, err := p.read(f, params)
	if err != nil {
		return nil, err
	}
	n, err := f.Queues.DiscardDead(ctx, flow, p.Keys...)
	return count{n}, err
}
