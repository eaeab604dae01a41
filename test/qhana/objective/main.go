// Command objective is a plugin for the test of QHAna's whole conversation: an objective function
// whose tasks wait for data, are then evaluated over HTTP, and end when they are told to. It is
// found as the virtual plugin Hinge, and uses the contracts alone.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/plugins/sdk"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell/shellpb"
)

func main() { sdk.Serve(&objective{problems: make(map[string]*problem)}) }

// child is the callsign of the virtual plugin that the plugin makes. Tests make others, of which it
// runs the tasks, too.
const child = "Hinge"

// objective is the plugin.
type objective struct {
	taskspb.UnimplementedWorkerServer
	tasks taskspb.TasksClient

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

func (o *objective) Describe() sdk.Information {
	return sdk.Information{Name: "objective", Description: "Objective functions for minimizers"}
}

// Initialize makes the virtual plugin.
func (o *objective) Initialize(ctx context.Context, in *sdk.Instance) error {
	host := in.Host.Conn("")
	o.tasks = taskspb.NewTasksClient(host)
	_, err := shellpb.NewVirtualsClient(host).CreateVirtual(ctx, &shellpb.CreateVirtualRequest{Plugin: &shellpb.VirtualPlugin{
		Callsign: child,
		Profile: &shellpb.Profile{
			Title: "Hinge loss", Name: "hinge-loss", Version: "0.2.0-snapshot", Description: "How far weights are from the best",
			Tags: []string{"objective-function"},
			Entry: &shellpb.EntryPoint{
				Kind:   shellpb.EntryKindOf("interaction"),
				Schema: []byte(`{"type":"object","properties":{"c":{"type":"number","title":"Factor","exclusiveMinimum":0,"default":1}},"required":["c"]}`),
			},
		},
	}})
	return err
}

func (o *objective) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (o *objective) Register(r grpc.ServiceRegistrar) { taskspb.RegisterWorkerServer(r, o) }

// as returns a context for calls of the virtual plugin, which go on when ctx ends.
func as(ctx context.Context, callsign string) context.Context {
	return metadata.AppendToOutgoingContext(context.WithoutCancel(ctx), "dormouse-as", callsign)
}

// Run waits for the data.
func (o *objective) Run(ctx context.Context, r *taskspb.RunRequest) (*taskspb.RunResponse, error) {
	var given struct{ C float64 }
	if err := json.Unmarshal(r.GetTask().GetParameters(), &given); err != nil {
		return nil, err
	}
	o.mu.Lock()
	o.problems[r.GetTask().GetId()] = &problem{c: given.C}
	o.mu.Unlock()
	_, err := o.tasks.Update(as(ctx, r.GetTask().GetCallsign()), &taskspb.UpdateRequest{
		Task: r.GetTask().GetId(), Log: []string{"waits for data"},
		AddStep: &taskspb.Step{Id: "pass_data", Title: "Pass the data", Schema: []byte(
			`{"type":"object","properties":{"features":{"type":"string","format":"uri"},"target":{"type":"string","format":"uri"}},"required":["features","target"]}`)},
	})
	return &taskspb.RunResponse{}, err
}

// Submit takes the data, or ends the evaluation.
func (o *objective) Submit(ctx context.Context, r *taskspb.WorkerSubmitRequest) (*taskspb.WorkerSubmitResponse, error) {
	ctx = as(ctx, r.GetCallsign())
	switch r.GetStep().GetId() {
	case "pass_data":
		return &taskspb.WorkerSubmitResponse{}, o.takeData(ctx, r.GetTask(), r.GetStep().GetValues())
	case "evaluate":
		return &taskspb.WorkerSubmitResponse{}, o.finish(ctx, r.GetTask())
	}
	return nil, status.Errorf(codes.InvalidArgument, "there is no step %s", r.GetStep().GetId())
}

// takeData fetches the data, and can be evaluated from then on.
func (o *objective) takeData(ctx context.Context, task string, values []byte) error {
	var given struct{ Features, Target string }
	if err := json.Unmarshal(values, &given); err != nil {
		return err
	}
	var target []float64
	if err := fetch(ctx, given.Target, &target); err != nil {
		return status.Errorf(codes.InvalidArgument, "cannot read the target: %v", err)
	}
	p := o.problemOf(task)
	o.mu.Lock()
	p.target = target
	o.mu.Unlock()
	_, err := o.tasks.Update(ctx, &taskspb.UpdateRequest{
		Task: task, Log: []string{"can be evaluated"}, ClearSteps: []string{"pass_data"},
		AddStep: &taskspb.Step{Id: "evaluate", Title: "End the evaluation"},
		Links: []*taskspb.Link{
			{Type: "of-weights", Href: "of/" + task + "/weights"},
			{Type: "of-evaluate", Href: "of/" + task + "/evaluate"},
		},
	})
	return err
}

// finish leaves the smallest loss as a file.
func (o *objective) finish(ctx context.Context, task string) error {
	p := o.problemOf(task)
	o.mu.Lock()
	text, err := json.Marshal(map[string]any{"loss": p.best, "evaluations": p.asked})
	o.mu.Unlock()
	if err != nil {
		return err
	}
	stream, err := o.tasks.PutOutput(ctx)
	if err == nil {
		err = stream.Send(&taskspb.PutOutputRequest{Task: task, Name: "loss.json", ContentType: "application/json", DataType: "entity/vector", Content: text})
	}
	if err == nil {
		_, err = stream.CloseAndRecv()
	}
	if err == nil {
		_, err = o.tasks.Finish(ctx, &taskspb.FinishRequest{Task: task, Status: taskspb.Status_STATUS_SUCCESS, Log: []string{"done"}})
	}
	return err
}

// problemOf returns the problem of a task, an empty one if there is none.
func (o *objective) problemOf(task string) *problem {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.problems[task]; p != nil {
		return p
	}
	return &problem{}
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
