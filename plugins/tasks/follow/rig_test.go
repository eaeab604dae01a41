package follow

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// pollEvery is how often tasks elsewhere are read.
const pollEvery = time.Minute

// rig is follows in fake time, with the tasks of this host and those elsewhere in memory.
type rig struct {
	*Follows
	t     *testing.T
	path  string
	store *store.Store
	stop  func()

	mu      sync.Mutex
	own     map[string]*taskspb.Task
	others  map[string]*taskspb.Task // by address
	trouble error                    // what reading tasks elsewhere fails with
	reads   int
	brought []*taskspb.FollowedRequest
	addable int // how many more steps can be added; negative for any number
}

// inBubble runs the test in fake time.
func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.db")
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, path: path, own: make(map[string]*taskspb.Task), others: make(map[string]*taskspb.Task), addable: -1}
		r.open()
		defer func() { r.close() }()
		test(r)
	})
}

// open begins a life of the host.
func (r *rig) open() {
	var err error
	if r.store, err = store.Open(r.path, store.Options{CheckAfter: 1 << 62}); err != nil {
		r.t.Fatal(err)
	}
	r.Follows, err = Open(Options{
		Store: r.store, Log: zerolog.Nop(), Elsewhere: r, Every: pollEvery,
		OwnStep: func(address string) (string, bool) {
			rest, own := strings.CutPrefix(address, "http://here/tasks/")
			task, _, _ := strings.Cut(rest, "/steps/")
			return task, own
		},
		OwnTask:  func(string) (string, bool) { return "", false },
		Callback: func(token string) string { return "http://here/callbacks/" + token },
		Entry: func(_ context.Context, plugin, callback string) (Entry, error) {
			return Entry{Href: "http://here/" + plugin + "?callback=" + callback, Title: plugin}, nil
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.tasks = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	r.stop = func() {
		cancel()
		<-ended
	}
	synctest.Wait()
}

// close ends that life.
func (r *rig) close() {
	r.stop()
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// follow has a task of this host follow another.
func (r *rig) follow(own, other, prefix string) error {
	_, err := r.Follow(context.Background(), "Plugin", &taskspb.FollowRequest{Task: own, Other: other, Prefix: prefix})
	synctest.Wait()
	return err
}

// mustFollow is follow that has to succeed.
func (r *rig) mustFollow(own, other, prefix string) {
	r.t.Helper()
	if err := r.follow(own, other, prefix); err != nil {
		r.t.Fatal(err)
	}
}

// put makes a task of this host.
func (r *rig) put(t *taskspb.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Callsign = "Plugin"
	r.own[t.GetId()] = t
}

// Get returns a task of this host.
func (r *rig) Get(_ context.Context, id string) (*taskspb.Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.own[id]
	if t == nil {
		return nil, tasks.ErrUnknown
	}
	return proto.CloneOf(t), nil
}

// ChangeSteps changes a task of this host, and tells the follows of it.
func (r *rig) ChangeSteps(_ context.Context, _ string, change *taskspb.UpdateRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if change.GetAddStep() != nil {
		if r.addable == 0 {
			return tasks.ErrState
		}
		r.addable--
	}
	apply(r.t, r.own[change.GetTask()], change)
	go r.Note(change.GetTask())
	return nil
}

// plugin is the plugin of each task.
type plugin struct {
	taskspb.WorkerClient
	rig *rig
}

// AskWorker asks the plugin.
func (r *rig) AskWorker(_ context.Context, _ string, ask func(taskspb.WorkerClient) error) (refused string, err error) {
	return "", ask(plugin{rig: r})
}

// Followed notes what the plugin was brought.
func (p plugin) Followed(_ context.Context, q *taskspb.FollowedRequest, _ ...grpc.CallOption) (*taskspb.FollowedResponse, error) {
	p.rig.mu.Lock()
	defer p.rig.mu.Unlock()
	p.rig.brought = append(p.rig.brought, q)
	return &taskspb.FollowedResponse{}, nil
}

// Read returns a task elsewhere.
func (r *rig) Read(_ context.Context, address string) (*taskspb.Task, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reads++
	t := r.others[address]
	switch {
	case r.trouble != nil:
		return nil, r.trouble
	case t == nil:
		return nil, ErrVanished
	}
	return proto.CloneOf(t), nil
}

// Subscribe takes a webhook that is never called.
func (r *rig) Subscribe(context.Context, string, string) error { return nil }

// Unsubscribe takes it back.
func (r *rig) Unsubscribe(context.Context, string, string) error { return nil }
