package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"dormouse/plugins/sdk"
)

// pluginFunction is a plugin with the type objective-function.
type pluginFunction struct {
	host     *sdk.Host
	callsign string
}

func (f pluginFunction) size(ctx context.Context) (size int, err error) {
	err = patiently(ctx, patience, func() error { return f.host.Invoke(ctx, f.callsign, "weights", nil, &size) })
	return size, err
}

func (f pluginFunction) loss(ctx context.Context, weights []float64) (float64, error) {
	var answer struct{ Loss float64 }
	err := patiently(ctx, patience, func() error {
		return f.host.Invoke(ctx, f.callsign, "evaluate", map[string]any{"weights": weights}, &answer)
	})
	return answer.Loss, err
}

// remoteFunction is a task with the links of-weights and of-evaluate, as programs of QHAna have
// them.
type remoteFunction struct {
	task  string
	links map[string]string // by type, nil before they are read
}

func (f *remoteFunction) size(ctx context.Context) (int, error) {
	var answer struct{ Weights int }
	err := f.ask(ctx, http.MethodGet, "of-weights", nil, &answer)
	return answer.Weights, err
}

func (f *remoteFunction) loss(ctx context.Context, weights []float64) (float64, error) {
	var answer struct{ Loss float64 }
	err := f.ask(ctx, http.MethodPost, "of-evaluate", map[string]any{"weights": weights}, &answer)
	return answer.Loss, err
}

// ask sends a request to the link of that type. One that takes long may be redirected to where its
// result will be.
func (f *remoteFunction) ask(ctx context.Context, method, linkType string, body, answer any) error {
	if f.links == nil {
		var task struct{ Links []struct{ Type, Href string } }
		if err := patiently(ctx, patience, func() error { return request(ctx, http.MethodGet, f.task, nil, &task) }); err != nil {
			return err
		}
		f.links = make(map[string]string)
		for _, l := range task.Links {
			f.links[l.Type] = l.Href
		}
	}
	href := f.links[linkType]
	if href == "" {
		return fmt.Errorf("the task %s has no link %s", f.task, linkType)
	}
	err := patiently(ctx, patience, func() error { return request(ctx, method, href, body, answer) })
	if e, ok := errors.AsType[*statusError](err); ok && e.isNotYet() && e.address != href {
		return patiently(ctx, resultPatience, func() error { return result(ctx, e.address, answer) })
	}
	return err
}

// result takes the result of a request from where it will be.
func result(ctx context.Context, address string, answer any) error {
	err := request(ctx, http.MethodGet, address, nil, answer)
	if e, ok := errors.AsType[*statusError](err); ok && e.isNotYet() {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	return err
}

// statusError is an answer that is not 200.
type statusError struct {
	address string // that has answered, after redirects
	status  int
}

// Error returns which address has answered what.
func (e *statusError) Error() string {
	return fmt.Sprintf("%s answers %d %s", e.address, e.status, http.StatusText(e.status))
}

// isNotYet reports whether an address with a result answers so before that is there.
func (e *statusError) isNotYet() bool {
	return e.status == http.StatusNotFound || e.status == http.StatusNoContent
}

// errAway means that a request may succeed later.
var errAway = errors.New("away")

// request sends a request with a JSON body, unless that is nil, and decodes the answer. The error
// may be a *statusError.
func request(ctx context.Context, method, address string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	defer response.Body.Close()
	refused := &statusError{response.Request.URL.String(), response.StatusCode}
	switch {
	case response.StatusCode >= http.StatusInternalServerError, response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", errAway, refused)
	case response.StatusCode != http.StatusOK:
		return refused
	}
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		return fmt.Errorf("%w: %w", errAway, err) // the answer was cut off
	}
	return nil
}

const (
	pause          = 100 * time.Millisecond
	patience       = time.Minute // with one that is away
	resultPatience = time.Hour   // with one that computes
)

// patiently calls ask again while the one that is asked is away, for as long as patience says.
func patiently(ctx context.Context, patience time.Duration, ask func() error) error {
	for end := time.Now().Add(patience); ; {
		err := ask()
		if err == nil || !isAway(err) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// isAway reports whether the plugin or host that was asked has not answered, and may do so later:
// one of the two was put to sleep, is restarted, or has crashed.
func isAway(err error) bool {
	if errors.Is(err, errAway) || errors.Is(err, sdk.ErrSlept) {
		return true
	}
	e, ok := errors.AsType[*sdk.Error](err)
	if !ok {
		return false
	}
	switch e.Code {
	case sdk.Unavailable, sdk.IllegalState, sdk.PendingConditions, sdk.RPCCallFailed, sdk.InProgress, sdk.Hibernated:
		return true
	}
	return false
}
