package webhooks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/shell"
)

// method is one method of Webhooks. Its parameters and its result are JSON with the fields of the
// messages of the gRPC method of the same name.
type method struct {
	access access.Role
	serve  func(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error)
}

// methods are the methods by name.
var methods = map[string]method{
	"list":   {access.Read, serveList},
	"status": {access.Read, serveStatus},

	"retry":   {access.Operate, serveRetry},
	"discard": {access.Operate, serveDiscard},

	"allow":    {access.Admin, serveAllow(true)},
	"disallow": {access.Admin, serveAllow(false)},
}

// NeededAccess returns the role that a caller needs for a call of Webhooks, and what the call is
// about. A method that Webhooks does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	m, ok := methods[c.Method]
	if !ok {
		return access.Read, about
	}
	return m.access, about
}

// readParams decodes the parameters of a call into to, or returns an ErrBadRequest.
func readParams(params json.RawMessage, to any) error {
	if err := jsonrpc.DecodeParams(params, to); err != nil {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return nil
}

// Limits of one list.
const (
	defaultListed = 100
	maxListed     = 1000
)

// delivery is a delivery that its target has not taken.
type delivery struct {
	Key     int64      `json:"key"`
	Line    string     `json:"line"`
	Kind    string     `json:"kind"`
	Event   string     `json:"event"`
	ID      string     `json:"id"`
	Target  string     `json:"target"`
	Made    time.Time  `json:"made"`
	Tries   int        `json:"tries"`
	Reason  string     `json:"reason"`
	GivenUp bool       `json:"given_up"`
	Next    *time.Time `json:"next,omitempty"`
}

// listParams name a page of deliveries.
type listParams struct {
	After int64 `json:"after"` // list those with greater keys
	Limit int   `json:"limit"`
}

// serveList lists the deliveries that their targets have not taken, in the order of their keys.
func serveList(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error) {
	var p listParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	return w.list(ctx, p)
}

func (w *Webhooks) list(ctx context.Context, p listParams) ([]delivery, error) {
	found, err := w.Outbox.Troubled(ctx, p.After, min(max(cmp.Or(p.Limit, defaultListed), 1), maxListed))
	all := []delivery{}
	for _, f := range found {
		d := delivery{
			Key: f.Key, Line: f.Line, Kind: f.Kind, Event: f.Event, ID: f.ID, Target: withoutQuery(f.URL),
			Made: f.Made, Tries: f.Tries, Reason: f.Reason, GivenUp: f.GivenUp,
		}
		if !f.GivenUp {
			d.Next = &f.Next
		}
		all = append(all, d)
	}
	return all, err
}

// figures are those of the outbox, and where webhooks may go.
type figures struct {
	Waiting    int64            `json:"waiting"`
	Oldest     *time.Time       `json:"oldest,omitempty"`
	GivenUp    int64            `json:"given_up"`
	Failures   map[string]int64 `json:"failures"`
	Configured []string         `json:"configured"`
	Allowed    []string         `json:"allowed"`
}

// serveStatus returns the figures and rules of now.
func serveStatus(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error) {
	if err := readParams(params, &struct{}{}); err != nil {
		return nil, err
	}
	return w.status(ctx)
}

func (w *Webhooks) status(ctx context.Context) (figures, error) {
	now, err := w.Outbox.Stats(ctx)
	st := figures{Waiting: now.Waiting, GivenUp: now.GivenUp, Failures: now.Failures, Configured: []string{}}
	if !now.Oldest.IsZero() {
		st.Oldest = &now.Oldest
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, rule := range w.Configured {
		st.Configured = append(st.Configured, rule.String())
	}
	st.Allowed = slices.AppendSeq([]string{}, maps.Keys(w.added))
	slices.Sort(st.Allowed)
	return st, err
}

// keysParams name deliveries, or stand for all that were given up.
type keysParams struct {
	Keys []int64 `json:"keys"`
	All  bool    `json:"all"`
}

// count is how many deliveries a method has changed.
type count struct {
	Count int `json:"count"`
}

// serveRetry has deliveries tried at once.
func serveRetry(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error) {
	var p keysParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	return w.change(ctx, p, w.Outbox.Retry)
}

// serveDiscard deletes deliveries.
func serveDiscard(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error) {
	var p keysParams
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	return w.change(ctx, p, w.Outbox.Discard)
}

// change calls change with the keys of the deliveries that the parameters name.
func (w *Webhooks) change(ctx context.Context, p keysParams, change func(ctx context.Context, keys ...int64) error) (count, error) {
	if p.All == (len(p.Keys) > 0) {
		return count{}, fmt.Errorf(`%w: name deliveries by "keys", or by "all": true all that were given up`, ErrBadRequest)
	}
	if p.All {
		n, err := w.eachGivenUp(ctx, change)
		return count{n}, err
	}
	return count{len(p.Keys)}, change(ctx, p.Keys...)
}

// targetsParams name targets as the configuration does.
type targetsParams struct {
	Targets []string `json:"targets"`
}

// serveAllow returns the method that adds targets to those where webhooks may go, or takes them
// away.
func serveAllow(isAllowed bool) func(context.Context, *Webhooks, json.RawMessage) (any, error) {
	return func(ctx context.Context, w *Webhooks, params json.RawMessage) (any, error) {
		var p targetsParams
		if err := readParams(params, &p); err != nil {
			return nil, err
		}
		if err := w.allow(ctx, p.Targets, isAllowed); err != nil {
			return nil, err
		}
		return w.status(ctx)
	}
}
