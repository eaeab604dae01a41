package qhana

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/internal/leaktest"
	"dormouse/internal/outbox"
	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// rig is a QHAna behind a server, before instances and tasks of the test.
type rig struct {
	*QHAna
	server    *httptest.Server
	instances *fakeInstances
	tasks     *fakeTasks
	store     *store.Store
	outbox    *outbox.Outbox
	log       *strings.Builder
}

// newRig serves the instances under the address of its own server.
func newRig(t *testing.T, instances []Instance, registries ...string) *rig {
	t.Helper()
	r := &rig{instances: &fakeInstances{all: instances}, tasks: &fakeTasks{}, log: &strings.Builder{}}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		h, _, _ := r.Resource(request)
		request.Body = http.MaxBytesReader(w, request.Body, 1<<20)
		h.ServeHTTP(w, request)
	}))
	t.Cleanup(r.server.Close)
	var err error
	if r.store, err = store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	if r.outbox, err = outbox.Open(r.store, outbox.Options{}); err != nil {
		t.Fatal(err)
	}
	r.QHAna, err = New(Options{
		PublicURL: r.server.URL, Role: access.Call, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Registries: registries,
		Instances: r.instances, Tasks: r.tasks, Store: r.store, Outbox: r.outbox, Log: zerolog.New(r.log),
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// run tells the registries until the test ends, or the returned function is called.
func (r *rig) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	running.Go(func() { r.outbox.Run(ctx) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request without following redirections. Headers are names and values.
func (r *rig) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	address := path
	if strings.HasPrefix(path, "/") {
		address = r.server.URL + path
	}
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
		request.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: r.server.Client().Transport}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// decode returns the JSON in an answer.
func (a answer) decode(t *testing.T) (value map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return value
}

// fakeInstances are instances of a test.
type fakeInstances struct {
	mu  sync.Mutex
	all []Instance
	web map[string]http.Handler // by callsign
}

func (f *fakeInstances) All() []Instance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all)
}

// set replaces the instances.
func (f *fakeInstances) set(all ...Instance) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = all
}

func (f *fakeInstances) Endpoint(callsign, httpMethod, path string) (shell.Endpoint, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	web, ok := f.web[callsign]
	return shell.Endpoint{Needs: "web", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Path", path)
		web.ServeHTTP(w, r)
	})}, ok && (httpMethod == http.MethodGet || httpMethod == http.MethodPost)
}

var (
	errNone    = errors.New("there is no such task")
	errRefused = errors.New("the plugin does not take these values")
)

// fakeTasks keeps tasks in memory.
type fakeTasks struct {
	mu    sync.Mutex
	tasks []*taskspb.Task
	calls []string // all that was asked for
	files map[string]string
	err   error // of the next start or submission
}

// called notes a call.
func (f *fakeTasks) called(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// takeCalls returns the calls since the last time.
func (f *fakeTasks) takeCalls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fakeTasks) Start(_ context.Context, callsign, title string, parameters json.RawMessage, callback string) (*taskspb.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.called("start %s %q %s %s", callsign, title, parameters, callback)
	task := &taskspb.Task{Id: fmt.Sprintf("t%d", len(f.tasks)+1), Callsign: callsign}
	f.tasks = append(f.tasks, task)
	return task, nil
}

func (f *fakeTasks) Get(_ context.Context, task string, revision uint64, wait time.Duration) (*taskspb.Task, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if wait != 0 {
		f.called("wait %s %d %s", task, revision, wait)
	}
	for _, t := range f.tasks {
		if t.GetId() == task {
			return t, nil
		}
	}
	return nil, errNone
}

func (f *fakeTasks) Submit(_ context.Context, task, step string, values json.RawMessage) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("submit %s %s %s", task, step, values)
	return f.err
}

func (f *fakeTasks) Cancel(_ context.Context, task string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("cancel %s", task)
	return nil
}

func (f *fakeTasks) Subscribe(_ context.Context, task string, s Subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("subscribe %s %s %q %s %s", task, s.URL, s.Event, s.Source, s.Secret)
	return nil
}

func (f *fakeTasks) Unsubscribe(_ context.Context, task, url, event string, all bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.called("unsubscribe %s %s %q %t", task, url, event, all)
	return nil
}

func (f *fakeTasks) OpenOutput(_ context.Context, task, key string) (*taskspb.Output, io.ReadSeekCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tasks {
		for _, o := range t.GetOutputs() {
			if t.GetId() == task && o.GetKey() == key {
				return o, file{strings.NewReader(f.files[key])}, nil
			}
		}
	}
	return nil, nil, errNone
}

func (f *fakeTasks) HTTPStatus(err error) int {
	switch {
	case errors.Is(err, errNone):
		return http.StatusNotFound
	case errors.Is(err, errRefused):
		return http.StatusUnprocessableEntity
	case errors.Is(err, shell.ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// file is a text that can be closed.
type file struct{ io.ReadSeeker }

func (file) Close() error { return nil }
