package tasks

import (
	"context"
	"encoding/json"
	"fmt"

	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// backend is the built-in as the backend of its instance.
type backend struct{ *Tasks }

var (
	_ shell.Backend = backend{}
	_ shell.Web     = backend{}
)

// Launch returns the description of the built-in.
func (b backend) Launch(context.Context) (shell.Information, error) {
	return shell.Information{
		Class:       Callsign,
		Description: "Keeps long work of plugins, which others follow",
		Version:     shell.Version{Major: 1},
		Services:    []string{taskspb.Tasks_ServiceDesc.ServiceName},
	}, nil
}

// Initialize begins to ask plugins, and to remove what is too old.
func (b backend) Initialize(context.Context) error {
	b.mu.Lock()
	b.running, b.stop = context.WithCancel(context.Background())
	b.mu.Unlock()
	b.start(b.runSweeps)
	b.start(b.notify)
	if b.Following != nil {
		b.start(b.Following.Run)
	}
	b.lookAtAll()
	b.rearmCancels()
	return nil
}

// Deinitialize does nothing: Stop ends the work.
func (b backend) Deinitialize(context.Context, shell.Reason) error { return nil }

// Stop ends all work and returns when none is under way. Tasks whose plugin has ended meanwhile
// have ended then.
func (b backend) Stop(ctx context.Context) error {
	b.mu.Lock()
	wasRunning := b.running != nil
	if wasRunning {
		b.running = nil
		b.stop()
	}
	b.mu.Unlock()
	b.background.Wait()
	b.owners.stopRetries()
	if !wasRunning {
		return nil
	}
	for _, callsign := range b.owners.callsigns() {
		for end, _, found := b.owners.takeEnd(callsign); found; end, _, found = b.owners.takeEnd(callsign) {
			if err := b.endTasksOf(context.WithoutCancel(ctx), callsign, end); err != nil {
				return fmt.Errorf("cannot end the tasks of %s; the next host does: %w", callsign, err)
			}
		}
	}
	return b.clock.keep()
}

// notify sends the changes of tasks as events of the built-in, until ctx ends: one event for each
// thing that has happened.
func (t *Tasks) notify(ctx context.Context) {
	f := t.feeds.open(func(Change) bool { return true })
	defer f.close()
	for {
		c, err := f.next(ctx)
		if err != nil {
			return
		}
		params, err := json.Marshal(map[string]any{"task": c.Task, "callsign": c.Callsign, "status": statusWord(c.Status), "revision": c.Revision})
		if err != nil {
			continue
		}
		for _, name := range c.Events.Names() {
			t.sink.Notify(shell.Notification{Event: name, Params: params})
		}
	}
}

// Invoke calls a method. An error is a *shell.PluginError with Thunder's number.
func (b backend) Invoke(ctx context.Context, c shell.Call) (json.RawMessage, error) {
	m, ok := methods[c.Method]
	if !ok {
		return nil, shell.ErrUnknownMethod
	}
	result, err := m.serve(ctx, b.Tasks, c.Params)
	if err != nil {
		return nil, answers.To(err).PluginError(err, nil)
	}
	return json.Marshal(result)
}

// Exists reports whether there is a method of that name.
func (b backend) Exists(_ context.Context, method string) (bool, error) {
	_, ok := methods[method]
	return ok, nil
}

// ProcessFigures returns nothing: the host reports its own memory.
func (b backend) ProcessFigures() shell.ProcessFigures { return shell.ProcessFigures{} }
