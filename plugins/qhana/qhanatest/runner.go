package qhanatest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Runner is a stand-in of qhana-plugin-runner: it hosts plugins whose work are tasks.
type Runner struct {
	// Client is what its plugins ask others with.
	Client *http.Client

	server *httptest.Server
	under  sync.WaitGroup // webhooks and work of plugins

	mu      sync.Mutex
	plugins map[string]RunnerPlugin // by identifier
	tasks   []*Task
	files   map[string]File // by path
}

// RunnerPlugin is a plugin of a runner. Its functions run beside the answer to the request, which is
// the redirection to the task.
type RunnerPlugin struct {
	Name, Version string
	Tags          []string
	// Start begins the work of a new task, and Step takes what was submitted to a step.
	Start func(t *Task, form url.Values)
	Step  func(t *Task, step string, form url.Values)
	// Callback takes a webhook at the callback of that name, and reports whether it is of interest:
	// the answer is 404 if not, as the real ones do.
	Callback func(t *Task, name, source, event string) bool
}

// File is what a runner serves at a path.
type File struct{ ContentType, Text string }

// Task is a task of a runner.
type Task struct {
	runner *Runner
	id     int
	plugin RunnerPlugin

	// Guarded by the runner's mu.
	record TaskRecord
	subs   []subscriber
}

// TaskRecord is a task resource as the runner's and the backend's closed records have it.
type TaskRecord struct {
	Status   string       `json:"status"`
	Log      string       `json:"log"`
	Progress *Progress    `json:"progress,omitempty"`
	Steps    []Step       `json:"steps"`
	Outputs  []Output     `json:"outputs"`
	Links    []RecordLink `json:"links"`
}

// Progress is how far a task is.
type Progress struct {
	Value, Start, Target float64
	Unit                 string
}

// Step is a step of a task.
type Step struct {
	StepID  string `json:"stepId"`
	Href    string `json:"href"`
	UIHref  string `json:"uiHref"`
	Cleared bool   `json:"cleared"`
}

// Output is a file of a task.
type Output struct {
	Href        string `json:"href"`
	DataType    string `json:"dataType"`
	ContentType string `json:"contentType"`
	Name        string `json:"name"`
}

// RecordLink is a link of a task.
type RecordLink struct {
	Type string `json:"type"`
	Href string `json:"href"`
}

// Open returns the step that is not cleared, false if there is none.
func (r TaskRecord) Open() (Step, bool) {
	if n := len(r.Steps); n > 0 && !r.Steps[n-1].Cleared {
		return r.Steps[n-1], true
	}
	return Step{}, false
}

// Link returns the address of the link of that type, empty if there is none.
func (r TaskRecord) Link(kind string) string {
	i := slices.IndexFunc(r.Links, func(l RecordLink) bool { return l.Type == kind })
	if i < 0 {
		return ""
	}
	return r.Links[i].Href
}

// subscriber is a webhook of a task; an empty event stands for all.
type subscriber struct{ href, event string }

// NewRunner returns a runner that runs until Close.
func NewRunner() *Runner {
	r := &Runner{
		Client:  &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}},
		plugins: make(map[string]RunnerPlugin), files: make(map[string]File),
	}
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r
}

// Close ends the runner, once the work of its plugins has ended.
func (r *Runner) Close() {
	r.server.Close()
	r.under.Wait()
	r.Client.CloseIdleConnections()
}

// AddPlugin adds a plugin, and returns its address.
func (r *Runner) AddPlugin(p RunnerPlugin) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	identifier := strings.ReplaceAll(p.Name, ".", "-") + "@" + strings.ReplaceAll(p.Version, ".", "-")
	r.plugins[identifier] = p
	return r.server.URL + "/plugins/" + identifier + "/"
}

// AddFile serves a file, and returns its address.
func (r *Runner) AddFile(path string, f File) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files["/files/"+path] = f
	return r.server.URL + "/files/" + path
}

// URL returns the address of a task.
func (t *Task) URL() string { return fmt.Sprintf("%s/tasks/%d/", t.runner.server.URL, t.id) }

// CallbackURL returns the address of the callback of that name, at which the plugin's Callback is
// called.
func (t *Task) CallbackURL(name string) string { return t.URL() + "callback/" + name + "/" }

// StepURL returns the address at which values for a step of this runner are submitted.
func (t *Task) StepURL(step string) string { return t.URL() + "steps/" + step + "/" }

// Record returns the task as its resource shows it.
func (t *Task) Record() TaskRecord {
	t.runner.mu.Lock()
	defer t.runner.mu.Unlock()
	return t.record
}

// AddStep adds a step, and ClearStep clears the open one. Both tell the subscribers.
func (t *Task) AddStep(s Step) {
	t.change("steps", func(r *TaskRecord) { r.Steps = append(slices.Clone(r.Steps), s) })
}

// ClearStep clears the open step.
func (t *Task) ClearStep() {
	t.change("steps", func(r *TaskRecord) {
		r.Steps = slices.Clone(r.Steps)
		r.Steps[len(r.Steps)-1].Cleared = true
	})
}

// Log adds a line to the log.
func (t *Task) Log(line string) {
	t.change("details", func(r *TaskRecord) { r.Log += line + "\n" })
}

// Finish ends the task with SUCCESS and those outputs, or, with a reason, with FAILURE.
func (t *Task) Finish(reason string, outputs ...Output) {
	if _, open := t.Record().Open(); open {
		t.ClearStep()
	}
	t.change("status", func(r *TaskRecord) {
		r.Status, r.Outputs = "SUCCESS", outputs
		if reason != "" {
			r.Status, r.Log = "FAILURE", r.Log+reason+"\n"
		}
	})
}

// change changes the task and tells the subscribers of the event.
func (t *Task) change(event string, edit func(*TaskRecord)) {
	r := t.runner
	r.mu.Lock()
	defer r.mu.Unlock()
	edit(&t.record)
	for _, s := range t.subs {
		if s.event == "" || s.event == event {
			r.under.Go(func() { r.call(s.href, t.URL(), event) })
		}
	}
}

// call sends a webhook, once.
func (r *Runner) call(href, source, event string) {
	u, err := url.Parse(href)
	if err != nil {
		return
	}
	query := u.Query()
	query.Set("source", source)
	query.Set("event", event)
	u.RawQuery = query.Encode()
	if response, err := r.Client.Post(u.String(), "", nil); err == nil {
		_ = response.Body.Close()
	}
}

// Get returns the task at an address, of this runner or of another host.
func (r *Runner) Get(address string) (record TaskRecord, err error) {
	response, err := r.Client.Get(address)
	if err != nil {
		return record, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return record, fmt.Errorf("%s answers %s", address, response.Status)
	}
	d := json.NewDecoder(response.Body)
	return record, d.Decode(&record)
}

// Submit sends a form to an address, and returns the address of the task at the end of the
// redirections. A nil form is an empty POST without a content type.
func (r *Runner) Submit(address string, form url.Values) (task string, err error) {
	contentType, body := "", ""
	if form != nil {
		contentType, body = "application/x-www-form-urlencoded", form.Encode()
	}
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := r.Client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answers %s", address, response.Status)
	}
	return response.Request.URL.String(), nil
}

// serve answers a request.
func (r *Runner) serve(w http.ResponseWriter, request *http.Request) {
	parts := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	switch {
	case parts[0] == "files" && request.Method == http.MethodGet:
		r.mu.Lock()
		f, ok := r.files[request.URL.Path]
		r.mu.Unlock()
		if ok {
			w.Header().Set("Content-Type", f.ContentType)
			_, _ = w.Write([]byte(f.Text))
			return
		}
	case parts[0] == "plugins" && len(parts) >= 2:
		if r.servePlugin(w, request, parts[1], parts[2:]) {
			return
		}
	case parts[0] == "tasks" && len(parts) >= 2:
		if r.serveTask(w, request, parts[1], parts[2:]) {
			return
		}
	}
	http.NotFound(w, request)
}

// servePlugin answers a request for a plugin, false if there is nothing.
func (r *Runner) servePlugin(w http.ResponseWriter, request *http.Request, identifier string, below []string) bool {
	r.mu.Lock()
	p, ok := r.plugins[identifier]
	r.mu.Unlock()
	if !ok {
		return false
	}
	address := r.server.URL + "/plugins/" + identifier + "/"
	switch {
	case len(below) == 0 && request.Method == http.MethodGet:
		writeJSON(w, map[string]any{
			"title": p.Name, "description": "", "name": p.Name, "version": p.Version, "type": "processing", "tags": p.Tags,
			"entryPoint": map[string]any{"href": address + "process/", "uiHref": address + "ui/", "pluginDependencies": []any{}, "dataInput": []any{}, "dataOutput": []any{}},
		})
	case len(below) == 1 && below[0] == "process" && request.Method == http.MethodPost:
		if request.ParseForm() != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return true
		}
		t := r.newTask(p, request.URL.Query().Get("callback"))
		r.under.Go(func() { p.Start(t, request.PostForm) })
		http.Redirect(w, request, t.URL(), http.StatusSeeOther)
	default:
		return false
	}
	return true
}

// newTask makes a task, with a subscription to all events if there is a callback.
func (r *Runner) newTask(p RunnerPlugin, callback string) *Task {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := &Task{runner: r, id: len(r.tasks) + 1, plugin: p}
	t.record = TaskRecord{Status: "PENDING", Steps: []Step{}, Outputs: []Output{}}
	t.record.Links = []RecordLink{{"subscribe", t.URL()}}
	if callback != "" {
		t.subs = append(t.subs, subscriber{href: callback})
	}
	r.tasks = append(r.tasks, t)
	return t
}

// serveTask answers a request for a task, false if there is nothing.
func (r *Runner) serveTask(w http.ResponseWriter, request *http.Request, id string, below []string) bool {
	number, err := strconv.Atoi(id)
	r.mu.Lock()
	if err != nil || number < 1 || number > len(r.tasks) {
		r.mu.Unlock()
		return false
	}
	t := r.tasks[number-1]
	r.mu.Unlock()
	query := request.URL.Query()
	switch {
	case len(below) == 0 && request.Method == http.MethodGet:
		writeJSON(w, t.Record())
	case len(below) == 0 && request.Method == http.MethodPost:
		t.serveCommand(w, request)
	case len(below) == 2 && below[0] == "steps" && request.Method == http.MethodPost:
		if request.ParseForm() != nil {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return true
		}
		r.under.Go(func() { t.plugin.Step(t, below[1], request.PostForm) })
		http.Redirect(w, request, t.URL(), http.StatusSeeOther)
	case len(below) == 2 && below[0] == "callback" && request.Method == http.MethodPost:
		if !t.plugin.Callback(t, below[1], query.Get("source"), query.Get("event")) {
			return false
		}
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

// serveCommand subscribes a webhook, or takes its subscriptions away.
func (t *Task) serveCommand(w http.ResponseWriter, request *http.Request) {
	var c struct{ Command, WebhookHref, Event string }
	if json.NewDecoder(request.Body).Decode(&c) != nil || c.Command != "subscribe" && c.Command != "unsubscribe" {
		w.WriteHeader(http.StatusUnprocessableEntity)
		return
	}
	t.runner.mu.Lock()
	t.subs = slices.DeleteFunc(t.subs, func(s subscriber) bool { return s.href == c.WebhookHref && (c.Event == "" || s.event == c.Event) })
	if c.Command == "subscribe" {
		t.subs = append(t.subs, subscriber{c.WebhookHref, c.Event})
	}
	t.runner.mu.Unlock()
	writeJSON(w, t.Record())
}

// writeJSON answers with a value as JSON.
func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client may be gone
}
