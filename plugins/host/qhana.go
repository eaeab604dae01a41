package host

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"dormouse/plugins/access"
	"dormouse/plugins/controller"
	"dormouse/plugins/qhana"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
	"dormouse/supervisor"
)

// openQHAna makes the resources for QHAna's programs. The supervisor must exist. A private host has
// none; where the configuration does not have them served, they only forget what an earlier host
// has told registries.
func (h *Host) openQHAna() (err error) {
	config := h.options.Config
	if h.options.private {
		return nil
	}
	h.qhana, err = qhana.New(qhana.Options{
		PublicURL:  config.Host.PublicURL,
		Role:       access.RoleByName(config.QHAna.Role),
		From:       config.QHAna.Networks(),
		Registries: config.QHAna.Registries,
		Instances:  qhanaInstances{h.Supervisor},
		Tasks:      qhanaTasks{h.Tasks},
		Store:      h.store,
		Outbox:     h.outbox,
		Called:     h.follows.Called,
		Log:        h.log,
	})
	if err != nil {
		return err
	}
	h.telling = &telling{stopListening: h.Supervisor.Listen(qhanaListener{h.qhana})}
	return nil
}

// StopTellingRegistries ends to tell plugin registries of changes, which the next host goes on with.
// It is called while the front still serves: a registry that does not reach a plugin forgets it.
func (h *Host) StopTellingRegistries() { h.telling.stop() }

// telling is how a host tells plugin registries of its plugins, while it does.
type telling struct {
	stopListening func() // to the supervisor
	running       sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	stopped bool
	cancel  context.CancelFunc // nil before start
}

// start tells the registries of q until stop, unless that was called before. A nil telling does
// nothing.
func (t *telling) start(q *qhana.QHAna) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	var ctx context.Context
	ctx, t.cancel = context.WithCancel(context.Background())
	t.running.Go(func() { q.Run(ctx) })
}

// stop returns when no registry is told any more. The next host goes on where this one ends.
func (t *telling) stop() {
	if t == nil {
		return
	}
	t.stopListening()
	t.mu.Lock()
	t.stopped = true
	if t.cancel != nil {
		t.cancel()
	}
	t.mu.Unlock()
	t.running.Wait()
}

// qhanaMount returns the path that the front serves for QHAna's programs, none if the
// configuration does not have them served.
func (h *Host) qhanaMount() controller.Mount {
	if !h.options.Config.ServesQHAna() {
		return controller.Mount{}
	}
	return controller.Mount{
		Path:     qhana.Path,
		Resource: func(r *http.Request) (http.Handler, access.Role, access.Target) { return h.qhana.Resource(r) },
		RoleOf:   func(c access.Client) access.Role { return h.qhana.RoleOf(c) },
	}
}

// qhanaInstances are the instances of a host for QHAna's programs.
type qhanaInstances struct{ *supervisor.Supervisor }

// All returns the instances that are no parts of the host.
func (s qhanaInstances) All() (all []qhana.Instance) {
	for _, sh := range s.Shells() {
		if sh.IsBuiltIn() {
			continue
		}
		about := sh.BriefStatus().Information
		v := about.Version
		all = append(all, qhana.Instance{
			Callsign: sh.Callsign(), Parent: sh.Parent(), IsKnown: about.Class != "",
			Class: about.Class, Description: about.Description, Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
			Profile: about.Profile,
		})
	}
	return all
}

// Endpoint returns what answers requests for a path of the instance's own.
func (s qhanaInstances) Endpoint(callsign, httpMethod, path string) (shell.Endpoint, bool) {
	sh, ok := s.Shell(callsign)
	if !ok || sh.IsBuiltIn() {
		return shell.Endpoint{}, false
	}
	return sh.Endpoint(httpMethod, path)
}

// qhanaListener has registries told when an instance comes, changes or goes.
type qhanaListener struct{ qhana *qhana.QHAna }

var _ supervisor.Listener = qhanaListener{}

// Roster has the registries told.
func (l qhanaListener) Roster(supervisor.RosterChange) { l.qhana.NoteChange() }

// Transition has the registries told what a program says of itself, which is known once it runs.
func (l qhanaListener) Transition(t shell.Transition) {
	if t.From != t.To && t.To == shell.Activated {
		l.qhana.NoteChange()
	}
}

// Notification does nothing.
func (l qhanaListener) Notification(string, shell.Notification) {}

// Subsystems does nothing.
func (l qhanaListener) Subsystems([]supervisor.Subsystem) {}

// qhanaTasks are the tasks of a host for QHAna's programs.
type qhanaTasks struct{ *tasks.Tasks }

// Start makes a task, with a subscription to all events if there is a callback.
func (t qhanaTasks) Start(ctx context.Context, callsign, title string, parameters json.RawMessage, callback string) (*taskspb.Task, error) {
	if callback == "" {
		return t.Tasks.Start(ctx, callsign, title, parameters)
	}
	return t.Tasks.Start(ctx, callsign, title, parameters, tasks.Subscription{URL: callback})
}

// Get returns a task, once it is newer than the revision or the time is over.
func (t qhanaTasks) Get(ctx context.Context, task string, revision uint64, wait time.Duration) (*taskspb.Task, error) {
	if wait <= 0 {
		return t.Tasks.Get(ctx, task)
	}
	return t.Wait(ctx, task, revision, wait)
}

// Submit gives values for the open step of a task.
func (t qhanaTasks) Submit(ctx context.Context, task, step string, values json.RawMessage) error {
	_, err := t.Tasks.Submit(ctx, task, step, values)
	return err
}

// Cancel asks for the end of a task.
func (t qhanaTasks) Cancel(ctx context.Context, task string) error {
	_, err := t.Tasks.Cancel(ctx, task)
	return err
}

// Subscribe adds a subscription to a task.
func (t qhanaTasks) Subscribe(ctx context.Context, task string, s qhana.Subscription) error {
	event, err := eventNamed(s.Event)
	if err != nil {
		return err
	}
	return t.Tasks.Subscribe(ctx, task, tasks.Subscription{URL: s.URL, Event: event, Source: s.Source, Secret: s.Secret})
}

// Unsubscribe removes subscriptions to a task.
func (t qhanaTasks) Unsubscribe(ctx context.Context, task, url, event string, all bool) error {
	named, err := eventNamed(event)
	if err != nil {
		return err
	}
	return t.Tasks.Unsubscribe(ctx, task, url, named, all)
}

// eventNamed returns the event of that name, all for an empty one.
func eventNamed(name string) (tasks.Events, error) {
	event, known := tasks.EventsNamed(name)
	if !known {
		return 0, fmt.Errorf("%w: there is no event %q", tasks.ErrInvalid, name)
	}
	return event, nil
}

// OpenOutput returns a file of a task that has ended.
func (t qhanaTasks) OpenOutput(ctx context.Context, task, key string) (*taskspb.Output, io.ReadSeekCloser, error) {
	o, f, err := t.Tasks.OpenOutput(ctx, task, key)
	if err != nil {
		return nil, nil, err // f is a nil *os.File
	}
	return o, f, nil
}

// HTTPStatus returns the status with which an error is answered.
func (t qhanaTasks) HTTPStatus(err error) int { return tasks.HTTPStatus(err) }
