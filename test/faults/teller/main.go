// Command teller is a plugin with tasks: begin makes one and returns its id; log, step and end
// change the task of that id.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&teller{tasks: make(map[string]*told)}) }

type teller struct {
	host *sdk.Host

	mu    sync.Mutex
	tasks map[string]*told
}

// told is a task and how many steps it has had.
type told struct {
	*sdk.Task
	steps int
}

// which names a task.
type which struct {
	Task string `json:"task"`
}

func (t *teller) Initialize(_ context.Context, in *sdk.Instance) error {
	t.host = in.Host
	return nil
}

func (t *teller) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (t *teller) Information() sdk.Information { return sdk.Information{} }

func (t *teller) Methods() sdk.Methods {
	return sdk.Methods{
		"begin": sdk.Method(func(ctx context.Context, _ struct{}) (which, error) {
			made, err := t.host.CreateTask(ctx, sdk.NewTask{})
			if err != nil {
				return which{}, err
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			t.tasks[made.ID] = &told{Task: made}
			return which{made.ID}, nil
		}),
		"log":  t.change((*told).log),
		"step": t.change((*told).step),
		"end":  t.change((*told).end),
	}
}

// change returns the method that changes a task of this life.
func (t *teller) change(change func(one *told, ctx context.Context) error) sdk.Handler {
	return sdk.Method(func(ctx context.Context, w which) (which, error) {
		t.mu.Lock()
		one := t.tasks[w.Task]
		t.mu.Unlock()
		if one == nil {
			return w, errors.New("the task is not of this life")
		}
		return w, change(one, ctx)
	})
}

// step clears the last step and adds another.
func (t *told) step(ctx context.Context) error {
	if t.steps > 0 {
		if err := t.ClearStep(ctx, fmt.Sprint(t.steps)); err != nil {
			return err
		}
	}
	t.steps++
	return t.AddStep(ctx, sdk.Step{ID: fmt.Sprint(t.steps)})
}

// end ends the task.
func (t *told) end(ctx context.Context) error { return t.Succeed(ctx) }

// log adds a line to its log.
func (t *told) log(ctx context.Context) error { return t.Log(ctx, "something has happened") }
