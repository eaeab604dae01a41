package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// What a plugin is it is again after a sleep.
func TestHibernate(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	r.activate()
	call[any](r, "increment", "")
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":20}`).SHA256
	call[any](r, "spawn", `{"depth":3}`)
	before := call[struct{ UptimeMs int64 }](r, "clock", "").UptimeMs
	began, pids := time.Now(), r.pids()

	r.hibernate()
	r.checkGone(pids)
	if got := r.ProcessFigures(); got != (shell.ProcessFigures{}) {
		t.Errorf("asleep it has %+v", got)
	}
	if image := r.Sleep(); image == nil || image.Bytes < 20<<20 || image.Generation != 1 {
		t.Errorf("the image is %+v", image)
	}
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "get"}); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("a call to what sleeps: %v", err)
	}
	const nap = 1200 * time.Millisecond
	<-time.After(nap) // the clock is what is tested
	r.wake()

	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
	if got := call[struct{ Alive int }](r, "children", "").Alive; got != 3 {
		t.Errorf("%d of 3 children answer", got)
	}
	after := call[struct{ UptimeMs int64 }](r, "clock", "").UptimeMs
	if awake := (time.Since(began) - nap).Milliseconds(); after < before || after-before > awake {
		t.Errorf("its monotonic clock went from %d to %d, while it was awake for %d ms", before, after, awake)
	}
	if len(r.pids()) != 5 || r.ProcessFigures().PID == 0 || r.ProcessFigures().Memory < 20<<20 {
		t.Errorf("the tree is %v, the facts %+v", r.pids(), r.ProcessFigures())
	}
	r.log.await(t, `"message":"counter woke"`, `"generation":1`)
	if r.Sleep() != nil {
		t.Error("there still is an image")
	}
	r.checkNoExitReported()
}

func TestStateControlSurvives(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	info, err := r.Launch(r.contextFor(patience))
	if err == nil {
		err = r.Initialize(r.contextFor(patience))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.hibernate()
	r.wake()
	if got, err := info.StateControl.State(r.contextFor(patience)); err != nil || got != statecontrol.Suspended {
		t.Errorf("it is %v: %v", got, err)
	}
	if err := info.StateControl.Request(r.contextFor(patience), statecontrol.Resume); err != nil {
		t.Error(err)
	}
	got := receive(t, r.sink.controls)
	for got != statecontrol.Resumed { // each connection is told the present state too
		got = receive(t, r.sink.controls)
	}
}

// The one stream from the plugin to the log goes on, on both pipes, with no
// line lost or doubled while the instance has no log-rate.
func TestLogAndEventsGoOn(t *testing.T) {
	needCRIU(t)
	t.Run("lines", func(t *testing.T) {
		r := newRig(t, rogue())
		r.activate()
		for n := range 3 {
			text := fmt.Sprintf("line %d", n)
			call[any](r, "print", fmt.Sprintf(`{"text":%q}`, text))
			r.hibernate()
			for _, stream := range []string{"stdout", "stderr"} {
				if got := strings.Count(r.log.String(), `"stream":"`+stream+`","message":"`+text+`"`); got != 1 {
					t.Errorf("%q is %d times in the log of %s", text, got, stream)
				}
			}
			r.wake()
		}
	})
	t.Run("flood", func(t *testing.T) {
		r := newRig(t, rogue("flood"))
		r.config.LogRate = 0
		r.activate()
		r.hibernate()
		slept := strings.Count(r.log.String(), "\n")
		r.wake()
		eventually(t, "the flood goes on", func() bool { return strings.Count(r.log.String(), "\n") > slept+1000 })
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Error(err)
		}
		next := make(map[string]int)
		for line := range strings.Lines(r.log.String()) {
			var l struct{ Stream, Message string }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatal(err)
			}
			next[l.Stream]++
			if want := fmt.Sprintf("line %d", next[l.Stream]); l.Message != want && l.Message+"\n" != want {
				t.Fatalf("on %s came %q for %q", l.Stream, l.Message, want)
			}
		}
	})
	t.Run("events", func(t *testing.T) {
		r := newRig(t, counter())
		r.activate()
		want := 41
		for range 3 {
			call[any](r, "increment", "")
			want++
			r.hibernate()
			r.wake()
			call[any](r, "increment", "")
			want++
			for n := want - 1; n <= want; n++ {
				got := receive(t, r.sink.events)
				if diff := cmp.Diff(shell.Notification{Event: "changed", Params: fmt.Appendf(nil, `{"value":%d}`, n), Sequence: uint64(n - 41)}, got); diff != "" {
					t.Error(diff)
				}
			}
		}
	})
}

func TestExitAfterWakeIsNoticed(t *testing.T) {
	needCRIU(t)
	r := newRig(t, rogue())
	r.activate()
	r.hibernate()
	r.wake()
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "exit", Params: []byte(`{"status":7,"text":"enough"}`)}); err == nil {
		t.Error("it answered")
	}
	if err := receive(t, r.sink.exits); !containsAll(err.Error(), []string{"status 7", "enough"}) {
		t.Errorf("got %v", err)
	}
}

// A woken plugin is stopped like any other.
func TestStopAfterWake(t *testing.T) {
	needCRIU(t)
	r := newRig(t, rogue("stubborn"))
	r.activate()
	call[any](r, "orphan", "")
	eventually(t, "the orphan is pid 1's", func() bool { return len(procfs.Children(r.life.tree.root.Pid)) == 2 })
	eventually(t, "the orphan has begun", func() bool { return r.HibernationObstacle() == nil })
	r.hibernate()
	r.wake()
	pids := r.pids()
	if len(pids) != 4 {
		t.Errorf("the tree is %v", pids)
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.checkGone(pids)
	r.checkNoExitReported()
}

// A plugin that was stopped when it was put to sleep is stopped when it wakes.
func TestStoppedChildSleepsStopped(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	r.activate()
	call[any](r, "spawn", `{"depth":1}`)
	child := func() int { pids := r.pids(); return pids[len(pids)-1] }
	if err := syscall.Kill(child(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is stopped", func() bool { return procfs.IsStopped(child()) })
	r.hibernate()
	r.wake()
	if !procfs.IsStopped(child()) {
		t.Error("the child runs")
	}
	if err := syscall.Kill(child(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if got := call[struct{ Alive int }](r, "children", "").Alive; got != 1 {
		t.Errorf("%d of 1 children answer", got)
	}
}

// resources counts what a cycle of sleep could add to.
type resources struct {
	HostFDs, PluginFDs, Mappings, Tasks, Sockets, Files, Cgroups int
}

func (r *rig) resources() resources {
	r.t.Helper()
	maps, err := os.ReadFile("/proc/" + itoa(r.ProcessFigures().PID) + "/maps")
	if err != nil {
		r.t.Fatal(err)
	}
	sockets, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		r.t.Fatal(err)
	}
	h := resources{
		HostFDs:   len(descriptors("self")),
		PluginFDs: len(descriptors(itoa(r.ProcessFigures().PID))),
		Mappings:  strings.Count(string(maps), "\n"),
		Tasks:     len(r.pids()),
		Sockets:   strings.Count(string(sockets), r.dir),
		Cgroups:   len(cgroupsHere()),
	}
	err = filepath.WalkDir(os.TempDir(), func(string, os.DirEntry, error) error { h.Files++; return nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return h
}

func TestTenTimes(t *testing.T) {
	needCRIU(t)
	if testing.Short() {
		t.Skip("it takes seconds")
	}
	r := newRig(t, counter())
	r.activate()
	call[any](r, "spawn", `{"depth":1}`)
	var second resources
	for n := range 10 {
		r.hibernate()
		r.wake()
		if got := call[struct{ Value int }](r, "increment", "").Value; got != 42+n {
			t.Fatalf("after %d times it counts %d", n+1, got)
		}
		r.host.Images.Close() // waits until the image is gone from the disk
		if n == 1 {
			second = r.resources()
		}
	}
	// The Go runtime of the plugin maps more as it goes: a few arenas and stacks.
	const moreMappings = 8
	var tenth resources
	eventually(t, "connections of the last cycle are gone", func() bool {
		tenth = r.resources()
		return tenth.HostFDs <= second.HostFDs && tenth.Sockets <= second.Sockets && tenth.PluginFDs <= second.PluginFDs
	})
	if tenth.Mappings > second.Mappings+moreMappings {
		t.Errorf("%d mappings, after the second time they were %d", tenth.Mappings, second.Mappings)
	}
	tenth.Mappings = second.Mappings
	if diff := cmp.Diff(second, tenth); diff != "" {
		t.Errorf("after the second and the tenth time it has (-second +tenth):\n%s", diff)
	}
	if image := r.imageFiles(); len(image) > 0 {
		t.Errorf("in the image store are %v", image)
	}
}
