package tasks

import "sync"

// waiters are the calls that wait for the next change of one task.
type waiters struct {
	mu  sync.Mutex
	all map[string]*waiter // by task
}

// waiter is a channel for all that wait for one task.
type waiter struct {
	changed chan struct{}
	count   int
}

// next returns a channel that is closed at the next change of the task. The caller must call
// forget once it does not wait any more.
func (w *waiters) next(task string) (changed <-chan struct{}, forget func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = make(map[string]*waiter)
	}
	one := w.all[task]
	if one == nil {
		one = &waiter{changed: make(chan struct{})}
		w.all[task] = one
	}
	one.count++
	return one.changed, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if one.count--; one.count == 0 && w.all[task] == one {
			delete(w.all, task)
		}
	}
}

// tell wakes all that wait for the task.
func (w *waiters) tell(c Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.all[c.Task]; one != nil {
		close(one.changed)
		delete(w.all, c.Task)
	}
}
