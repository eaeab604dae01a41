// Command objective is a plugin for the test of QHAna's whole conversation: an objective function
// whose tasks wait for data, are then evaluated over HTTP, and end when they are told to. It is
// found as the virtual plugin Hinge.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&objective{problems: make(map[string]*problem)}) }

// child is the callsign of the virtual plugin that the plugin makes. Tests make others, of which it
// runs the tasks, too.
const child = "Hinge"

// objective is the plugin.
type objective struct {
	mu       sync.Mutex
	problems map[string]*problem // by task
}

// problem is a task: the function f(w) = c · Σ (wᵢ − targetᵢ)².
type problem struct {
	c      float64
	target []float64
	best   float64
	asked  int
}

var (
	_ sdk.Describer  = (*objective)(nil)
	_ sdk.TaskRunner = (*objective)(nil)
	_ sdk.WebServer  = (*objective)(nil)
)

// Information describes the plugin. With the variable OBJECTIVE_ENTRY others can start its own work,
// too.
func (o *objective) Information() sdk.Information {
	about := sdk.Information{Name: "objective", Description: "Objective functions for minimizers", Version: sdk.Version{Major: 1}}
	if os.Getenv("OBJECTIVE_ENTRY") != "" {
		about.Profile.Entry = &sdk.EntryPoint{Kind: sdk.Processing}
	}
	return about
}

// Initialize makes the virtual plugin.
func (o *objective) Initialize(ctx context.Context, in *sdk.Instance) error {
	if os.Getenv("OBJECTIVE_ENTRY") != "" {
		return nil
	}
	return in.Host.CreateVirtual(ctx, sdk.Virtual{
		Callsign: child, Title: "Hinge loss", Name: "hinge-loss", Version: "0.2.0-snapshot", Description: "How far weights are from the best",
		Tags: []string{"objective-function"},
		Entry: &sdk.EntryPoint{
			Kind:   sdk.Interaction,
			Schema: json.RawMessage(`{"type":"object","properties":{"c":{"type":"number","title":"Factor","exclusiveMinimum":0,"default":1}},"required":["c"]}`),
		},
	})
}

func (o *objective) Deinitialize(context.Context, sdk.Reason) error { return nil }

// RunTask waits for the data, can then be evaluated, and leaves the smallest loss as a file once it
// is told to end.
func (o *objective) RunTask(ctx context.Context, t *sdk.Task) error {
	p := &problem{}
	if err := json.Unmarshal(t.Parameters, &struct{ C *float64 }{&p.c}); err != nil && len(t.Parameters) > 0 {
		return err
	}
	if err := t.Log(ctx, "waits for data"); err != nil {
		return err
	}
	var given struct{ Features, Target string }
	err := t.Ask(ctx, sdk.Step{ID: "pass_data", Title: "Pass the data", Schema: json.RawMessage(
		`{"type":"object","properties":{"features":{"type":"string","format":"uri"},"target":{"type":"string","format":"uri"}},"required":["features","target"]}`)}, &given)
	if err == nil {
		err = fetch(ctx, given.Target, &p.target)
	}
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.problems[t.ID] = p
	o.mu.Unlock()
	for _, name := range []string{"weights", "evaluate"} {
		if err := t.SetLink(ctx, "of-"+name, "of/"+t.ID+"/"+name); err != nil {
			return err
		}
	}
	if err := t.Ask(ctx, sdk.Step{ID: "evaluate", Title: "End the evaluation"}, nil); err != nil {
		return err
	}
	o.mu.Lock()
	text, err := json.Marshal(map[string]any{"loss": p.best, "evaluations": p.asked})
	o.mu.Unlock()
	if err == nil {
		err = t.PutOutput(ctx, sdk.Output{Name: "loss.json", ContentType: "application/json", DataType: "entity/vector"}, bytes.NewReader(text))
	}
	if err != nil {
		return err
	}
	return t.Log(ctx, "done")
}

// fetch decodes the JSON at an address.
func fetch(ctx context.Context, address string, to any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
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
	return json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(to)
}

// Web answers of/TASK/weights and of/TASK/evaluate, and has a page for people with a file beside it.
func (o *objective) Web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pages/start.html", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "<link rel=\"stylesheet\" href=\"style.css\">\n<form method=\"post\" action=\"%s\"><input name=\"c\"></form>\n", html.EscapeString(r.Header.Get("Form-Action")))
	})
	mux.HandleFunc("GET /pages/style.css", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/css")
		_, _ = io.WriteString(w, "form { margin: 1em }")
	})
	mux.HandleFunc("GET /of/{task}/weights", func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if p := o.problems[r.PathValue("task")]; p != nil {
			answer(w, map[string]any{"weights": len(p.target)})
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("POST /of/{task}/evaluate", o.evaluate)
	return mux
}

// evaluate answers with the loss for weights.
func (o *objective) evaluate(w http.ResponseWriter, r *http.Request) {
	var given struct{ Weights []float64 }
	err := json.NewDecoder(r.Body).Decode(&given)
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.problems[r.PathValue("task")]
	switch {
	case p == nil:
		http.NotFound(w, r)
		return
	case err != nil || len(given.Weights) != len(p.target):
		http.Error(w, strings.TrimSpace(fmt.Sprintf("%d weights are needed %v", len(p.target), err)), http.StatusUnprocessableEntity)
		return
	}
	loss := 0.0
	for i, weight := range given.Weights {
		loss += p.c * (weight - p.target[i]) * (weight - p.target[i])
	}
	if p.asked == 0 || loss < p.best {
		p.best = loss
	}
	p.asked++
	answer(w, map[string]any{"loss": loss})
}

// answer answers with JSON.
func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client may be gone
}
