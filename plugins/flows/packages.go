package flows

import (
	"context"
	"fmt"

	"dormouse/internal/timelimit"
)

// Holding returns the names of the package's flows in which messages wait, sorted. Dead letters
// don't count.
func (f *Flows) Holding(ctx context.Context, pkg string) (names []string, err error) {
	for _, w := range f.ofPackage(pkg) {
		waiting, err := f.Queues.Stats(ctx, w.key())
		if err != nil {
			return nil, err
		}
		if waiting.Messages > 0 {
			names = append(names, w.name)
		}
	}
	return names, nil
}

// Drain has the package's flows refuse what clients publish, and returns when no message waits in
// them. After an error the flows take messages as before.
func (f *Flows) Drain(ctx context.Context, pkg string) error {
	f.setDraining(pkg, true)
	err := f.waitUntilEmpty(ctx, pkg)
	if err != nil {
		f.setDraining(pkg, false)
		return fmt.Errorf("cannot drain the flows of %s: %w", pkg, err)
	}
	return nil
}

// setDraining sets whether the package's flows refuse new messages.
func (f *Flows) setDraining(pkg string, draining bool) {
	for _, w := range f.ofPackage(pkg) {
		w.mu.Lock()
		w.draining = draining
		w.mu.Unlock()
	}
	f.noteChange()
}

// waitUntilEmpty returns when no message waits in any flow of the package.
func (f *Flows) waitUntilEmpty(ctx context.Context, pkg string) error {
	for {
		holding, err := f.Holding(ctx, pkg)
		if err != nil || len(holding) == 0 {
			return err
		}
		for _, name := range holding { // the results of one may go to another
			if err := f.waitUntilFlowEmpty(ctx, name); err != nil {
				return err
			}
		}
	}
}

// waitUntilFlowEmpty returns when no message waits in the flow of that name.
func (f *Flows) waitUntilFlowEmpty(ctx context.Context, name string) error {
	for {
		changed, err := f.Queues.Changed(ctx, keyOf(name))
		if err != nil {
			return err
		}
		waiting, err := f.Queues.Stats(ctx, keyOf(name))
		if err != nil || waiting.Messages == 0 {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d messages wait in %s: %w", waiting.Messages, name, timelimit.EndError(ctx))
		}
	}
}

// Discard deletes the messages and dead letters of the package's flows.
func (f *Flows) Discard(ctx context.Context, pkg string) error {
	for _, w := range f.ofPackage(pkg) {
		if err := f.Queues.Drop(ctx, w.key()); err != nil {
			return err
		}
	}
	return nil
}
