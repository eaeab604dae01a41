package tasks

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/plugins/tasks/taskspb"
)

// ended makes a task of A that has ended, with an output.
func (r *rig) endedTask() string {
	r.Helper()
	id := r.makeTask(nil).GetId()
	r.updateTask(&taskspb.UpdateRequest{Task: id, Log: []string{"x"}, AddStep: &taskspb.Step{Id: "s"}, Data: []byte("1")})
	_, err := r.put(id, "a", "12345")
	r.must(err)
	_, err = r.finish(r.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
	r.must(err)
	return id
}

// passTime has the host's own clock show that so much time has passed.
func (r *rig) passTime(d time.Duration) {
	r.clock.mu.Lock()
	defer r.clock.mu.Unlock()
	r.clock.passed += d.Milliseconds()
}

// Tasks that ended too long ago are removed with all that they have, and those that are too many.
func TestOldTasksAreRemoved(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Tasks) { c.KeepCount = 2 }})
	pending := r.makeTask(nil).GetId()
	first := r.endedTask()
	r.passTime(7*24*time.Hour - time.Minute)
	second := r.endedTask()
	r.must(r.sweep(t.Context()))
	r.task(first)
	r.passTime(2 * time.Minute)
	r.must(r.sweep(t.Context()))
	_, err := r.Get(t.Context(), first)
	r.refused(err, ErrUnknown)
	if _, err := os.Stat(filepath.Join(r.Dir, first)); !os.IsNotExist(err) {
		t.Errorf("its outputs are there: %v", err)
	}
	r.task(second)
	r.task(pending)
	third, fourth := r.endedTask(), r.endedTask()
	r.must(r.sweep(t.Context()))
	_, err = r.Get(t.Context(), second)
	r.refused(err, ErrUnknown)
	r.task(third)
	r.task(fourth)
	if kept, total := r.counts.figures(success); kept != 2 || total != 4 || r.files.bytes != 10 {
		t.Errorf("%d of %d are kept, with %d bytes", kept, total, r.files.bytes)
	}
	for _, table := range []string{"task_log", "task_steps", "task_parts", "task_outputs"} {
		var n int
		r.must(r.countRows(table, &n))
		if n != 2 {
			t.Errorf("%s has %d rows", table, n)
		}
	}
}

// A clock that is a year off, before or after, costs a day at most.
func TestClockIsSet(t *testing.T) {
	r := newRig(t, setup{})
	id := r.endedTask()
	for _, off := range []time.Duration{365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		before := r.clock.now()
		r.must(r.clock.bucket.Put("now", reading{Passed: before, Wall: time.Now().Add(-off).UnixMilli()}))
		c, err := newClock(r.store)
		r.must(err)
		if passed := time.Duration(c.now()-before) * time.Millisecond; passed < 0 || passed > maxAway+time.Minute {
			t.Errorf("the clock of the machine is set by %s: the host believes that %s have passed", off, passed)
		}
		r.clock = c
		r.must(r.sweep(t.Context()))
		r.task(id)
	}
}
