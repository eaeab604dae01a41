package packager

import (
	"context"
	"sync"

	"dormouse/configs"
)

// fakeFlows are flows that hold messages as a test says.
type fakeFlows struct {
	mu       sync.Mutex
	declared map[string][]string
	holding  []string
	drained  chan struct{}
	log      []string
}

func (f *fakeFlows) functions() Flows {
	return Flows{
		Declare: func(name string, flows []configs.Flow) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.declared == nil {
				f.declared = make(map[string][]string)
			}
			f.declared[name] = nil
			for _, flow := range flows {
				f.declared[name] = append(f.declared[name], flow.Name)
			}
		},
		Withdraw: func(name string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			delete(f.declared, name)
		},
		Holding: func(string) []string {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.holding
		},
		Drain: func(ctx context.Context, _ string) error {
			select {
			case <-f.drained:
				f.mu.Lock()
				defer f.mu.Unlock()
				f.holding = nil
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Discard: func(name string) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.log = append(f.log, "discard "+name)
			f.holding = nil
			return nil
		},
	}
}
