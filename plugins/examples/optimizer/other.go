package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
)

const (
	// requestLimit is how long a request to a task elsewhere may take.
	requestLimit = 30 * time.Second
	// maxOutput is how many bytes of an output elsewhere are read.
	maxOutput = 64 << 20
)

// submit gives values for a step of another task, which takes them once: a life of this plugin
// before may have given them already.
func (o *optimizer) submit(ctx context.Context, other *taskspb.Task, s *taskspb.Step, values map[string]string) error {
	if isElsewhere(other) {
		return post(ctx, s.GetHref(), values)
	}
	_, err := o.host.SubmitStep(ctx, other.GetId(), s.GetId(), values)
	if err == nil {
		return nil
	}
	now, gerr := o.host.GetTask(ctx, other.GetId())
	for _, step := range now.GetSteps() {
		if gerr == nil && step.GetId() == s.GetId() && (step.GetCleared() || step.GetSubmitted()) {
			return nil
		}
	}
	return err
}

// post sends values as a form, or nothing, as a program of QHAna does.
func post(ctx context.Context, address string, values map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	form := url.Values{}
	for name, value := range values {
		form.Set(name, value)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if len(values) > 0 {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return nil
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

// get writes what is at an address to w.
func get(ctx context.Context, address string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	_, err = io.Copy(w, io.LimitReader(response.Body, maxOutput))
	return err
}
