// Package remote reaches plugins and tasks of QHAna's programs elsewhere: runners, and other hosts
// that speak like one. It keeps nothing.
package remote

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"time"

	"dormouse/plugins/tasks/taskspb"
)

const (
	// requestLimit is how long one request takes at most.
	requestLimit = 10 * time.Second
	// maxAnswer is how much of an answer is read, in bytes.
	maxAnswer = 8 << 20
	// maxRedirects is how many redirections of one request are followed.
	maxRedirects = 3
)

// Client asks programs elsewhere. Any goroutine may use it.
type Client struct{ http *http.Client }

// ErrGone means that nothing is at an address, or not any more.
var ErrGone = errors.New("nothing is there")

// Entry is where a user starts work of a plugin.
type Entry struct{ Href, UI, Title string }

// New returns a client that connects by dial, which decides where a request may go.
func New(dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	return &Client{&http.Client{
		Timeout:   requestLimit,
		Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: requestLimit},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errors.New("it redirects too often")
			}
			return nil
		},
	}}
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// pluginResource is what is read of a plugin.
type pluginResource struct {
	Title, Name string
	EntryPoint  struct{ Href, UIHref string } `json:"entryPoint"`
}

// Entry returns where a user starts work of the plugin with that resource.
func (c *Client) Entry(ctx context.Context, address, callback string) (Entry, error) {
	var plugin pluginResource
	at, err := c.get(ctx, address, &plugin)
	if err != nil {
		return Entry{}, err
	}
	href, err := resolve(at, plugin.EntryPoint.Href)
	if err != nil {
		return Entry{}, fmt.Errorf("%s is no plugin that can be started: %w", address, err)
	}
	ui, err := resolve(at, plugin.EntryPoint.UIHref)
	if err != nil {
		return Entry{}, fmt.Errorf("%s has no page: %w", address, err)
	}
	return Entry{Href: withCallback(href, callback), UI: withCallback(ui, callback), Title: plugin.Title}, nil
}

// taskResource is what is read of a task.
type taskResource struct {
	Status   string
	Log      string
	Progress *struct {
		Value, Start, Target float64
		Unit                 string
	}
	Steps []struct {
		StepID       string `json:"stepId"`
		Href, UIHref string
		Cleared      bool
	}
	Outputs []struct{ Name, Href, DataType, ContentType string }
	Links   []struct{ Type, Href string }
}

// statuses has the status of a task by QHAna's word. Every other word is a failure, as the runners'
// own helpers have it.
var statuses = map[string]taskspb.Status{
	"PENDING": taskspb.Status_STATUS_PENDING,
	"UNKNOWN": taskspb.Status_STATUS_PENDING,
	"SUCCESS": taskspb.Status_STATUS_SUCCESS,
}

// Read returns the task at an address. Its id is the address, the keys of its outputs are theirs.
// The error wraps ErrGone if there is none.
func (c *Client) Read(ctx context.Context, address string) (*taskspb.Task, error) {
	var r taskResource
	at, err := c.get(ctx, address, &r)
	if err != nil {
		return nil, err
	}
	if r.Status == "" {
		return nil, fmt.Errorf("what is at %s is no task", address)
	}
	t := &taskspb.Task{Id: address, Status: taskspb.Status_STATUS_FAILURE, Log: r.Log}
	if status, known := statuses[r.Status]; known {
		t.Status = status
	}
	if p := r.Progress; p != nil {
		t.Progress = &taskspb.Progress{Value: p.Value, Start: p.Start, Target: p.Target, Unit: p.Unit}
	}
	for _, s := range r.Steps {
		step := &taskspb.Step{Id: s.StepID, Cleared: s.Cleared}
		step.Href, err = resolve(at, s.Href)
		if err == nil {
			step.Ui, err = resolve(at, s.UIHref)
		}
		if err != nil {
			return nil, fmt.Errorf("the task %s has a step %.64q without an address: %w", address, s.StepID, err)
		}
		t.Steps = append(t.Steps, step)
	}
	for _, o := range r.Outputs {
		if href, err := resolve(at, o.Href); err == nil {
			t.Outputs = append(t.Outputs, &taskspb.Output{Name: o.Name, Key: href, ContentType: o.ContentType, DataType: o.DataType})
		}
	}
	for _, l := range r.Links {
		if href, err := resolve(at, l.Href); err == nil {
			t.Links = append(t.Links, &taskspb.Link{Type: l.Type, Href: href})
		}
	}
	return t, nil
}

// Subscribe has the webhook told of all that happens to the task at an address.
func (c *Client) Subscribe(ctx context.Context, address, webhook string) error {
	return c.command(ctx, address, "subscribe", webhook)
}

// Unsubscribe ends that.
func (c *Client) Unsubscribe(ctx context.Context, address, webhook string) error {
	return c.command(ctx, address, "unsubscribe", webhook)
}

// command sends a command about a webhook to the link that the task has for that.
func (c *Client) command(ctx context.Context, address, command, webhook string) error {
	t, err := c.Read(ctx, address)
	if err != nil {
		return err
	}
	for _, linkType := range []string{"subscribe", "subscription"} {
		for _, l := range t.GetLinks() {
			if l.GetType() != linkType {
				continue
			}
			body, err := json.Marshal(map[string]string{"command": command, "webhookHref": webhook})
			if err != nil {
				return err
			}
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.GetHref(), bytes.NewReader(body))
			if err != nil {
				return err
			}
			request.Header.Set("Content-Type", "application/json")
			_, err = c.do(request, nil)
			return err
		}
	}
	return fmt.Errorf("the task %s has no link of the type subscribe", address)
}

// get reads JSON from an address, and returns the address that it came from after redirections.
func (c *Client) get(ctx context.Context, address string, into any) (at *url.URL, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	return c.do(request, into)
}

// do makes a request and decodes the JSON of its answer, unless into is nil. An answer that means
// that nothing is there wraps ErrGone.
func (c *Client) do(request *http.Request, into any) (at *url.URL, err error) {
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotFound, answer.StatusCode == http.StatusGone:
		return nil, fmt.Errorf("%w: %s answers %s", ErrGone, request.URL.Redacted(), answer.Status)
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answers %s", request.URL.Redacted(), answer.Status)
	case into == nil:
		return answer.Request.URL, nil
	}
	if media, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type")); media != "application/json" {
		return nil, fmt.Errorf("%s answers %q, not JSON", request.URL.Redacted(), media)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = fmt.Errorf("it is longer than %d bytes", maxAnswer)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s: %w", request.URL.Redacted(), err)
	}
	return answer.Request.URL, nil
}

// resolve returns the absolute address that href is at an address.
func resolve(at *url.URL, href string) (string, error) {
	if href == "" {
		return "", errors.New("there is no address")
	}
	u, err := at.Parse(href)
	if err != nil {
		return "", err
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%.200q is no address of HTTP", href)
	}
	return u.String(), nil
}

// withCallback returns the address with the query parameter callback.
func withCallback(address, callback string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	query := u.Query()
	query.Set("callback", callback)
	u.RawQuery = query.Encode()
	return u.String()
}
