package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

const (
	// requestLimit is how long a request to a task elsewhere may take, and patience how long it is
	// tried.
	requestLimit = 30 * time.Second
	patience     = time.Minute
	pause        = 100 * time.Millisecond
	// maxOutput is how many bytes of an output elsewhere are read.
	maxOutput = 64 << 20
)

// submit gives values for a step of another task, which takes them once: a life of this plugin
// before may have given them already, or an answer was lost.
func (o *optimizer) submit(ctx context.Context, other *taskspb.Task, s *taskspb.Step, values map[string]string) error {
	var err error
	given := o.isGiven
	if isElsewhere(other) {
		err, given = post(ctx, s.GetHref(), values), isGivenElsewhere
	} else {
		_, err = o.host.SubmitStep(ctx, other.GetId(), s.GetId(), values)
	}
	if err != nil && given(ctx, other, s) {
		return nil
	}
	return err
}

// isGiven reports whether a step of a task of this host has got its values.
func (o *optimizer) isGiven(ctx context.Context, other *taskspb.Task, s *taskspb.Step) bool {
	now, err := o.host.GetTask(ctx, other.GetId())
	return err == nil && slices.ContainsFunc(now.GetSteps(), func(step *taskspb.Step) bool {
		return step.GetId() == s.GetId() && (step.GetCleared() || step.GetSubmitted())
	})
}

// isGivenElsewhere reports whether a step of a task elsewhere has got its values: it is cleared then.
func isGivenElsewhere(ctx context.Context, other *taskspb.Task, s *taskspb.Step) bool {
	type step struct {
		StepID  string
		Cleared bool
	}
	var text bytes.Buffer
	var now struct{ Steps []step }
	err := get(ctx, other.GetId(), &text)
	if err == nil {
		err = json.Unmarshal(text.Bytes(), &now)
	}
	return err == nil && slices.ContainsFunc(now.Steps, func(one step) bool { return one.StepID == s.GetId() && one.Cleared })
}

// post sends values as a form, or nothing, as a program of QHAna does.
func post(ctx context.Context, address string, values map[string]string) error {
	form := url.Values{}
	for name, value := range values {
		form.Set(name, value)
	}
	return patiently(ctx, func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		if len(values) > 0 {
			request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return send(request, io.Discard)
	})
}

// takeOver makes an output of the other task one of this task.
func (o *optimizer) takeOver(ctx context.Context, t *sdk.Task, other *taskspb.Task, output *taskspb.Output) error {
	var content bytes.Buffer
	var err error
	if isElsewhere(other) {
		err = get(ctx, output.GetKey(), &content)
	} else {
		_, err = o.host.CopyOutput(ctx, other.GetId(), output.GetKey(), &content)
	}
	if err != nil {
		return err
	}
	about := sdk.Output{Name: output.GetName(), ContentType: output.GetContentType(), DataType: output.GetDataType()}
	return t.PutOutput(ctx, about, bytes.NewReader(content.Bytes()))
}

// get has content become what is at an address.
func get(ctx context.Context, address string, content *bytes.Buffer) error {
	return patiently(ctx, func(ctx context.Context) error {
		content.Reset()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		return send(request, content)
	})
}

// errAway means that a request may succeed later.
var errAway = errors.New("away")

// send sends a request and writes the answer to w.
func send(request *http.Request, w io.Writer) error {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", errAway, err)
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode >= http.StatusInternalServerError, response.StatusCode == http.StatusTooManyRequests:
		return fmt.Errorf("%w: %s answers %s", errAway, request.URL, response.Status)
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	if _, err := io.Copy(w, io.LimitReader(response.Body, maxOutput)); err != nil {
		return fmt.Errorf("%w: %w", errAway, err) // the answer was cut off
	}
	return nil
}

// patiently calls ask again while the host that is asked is away, for a minute.
func patiently(ctx context.Context, ask func(context.Context) error) error {
	for end := time.Now().Add(patience); ; {
		limited, cancel := context.WithTimeout(ctx, requestLimit)
		err := ask(limited)
		cancel()
		if !errors.Is(err, errAway) || time.Now().After(end) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
