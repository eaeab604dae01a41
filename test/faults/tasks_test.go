package faults

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	taskhost "dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// taskPoints are all points at which a host is killed over a task, in the order of its life.
var taskPoints = []string{"task.made", "task.asked", "task.begun", "task.given", "task.taken", "task.written", "task.ended"}

// survey is a plugin whose tasks ask two questions. It is started again when it has ended.
func survey() string {
	return plugin("Survey", programs+"/survey", `sleep = "checkpoint"`, `restart = { policy = "always", limit = 1000, backoff = "10ms" }`)
}

// task is what the host says of one task.
type task struct {
	ID, Status, Reason, Log string
	Revision                uint64
	Steps                   []struct {
		ID                 string
		Cleared, Submitted bool
	}
	Outputs []struct{ Path string }
}

// Whatever is killed while a task is made, submitted to and finished: it is done once, with all its
// steps, as soon as everything runs again. Only what was not acknowledged may not have happened.
func TestKilledOverTask(t *testing.T) {
	t.Parallel()
	for _, on := range policies {
		tried := taskPoints
		if !thorough {
			tried = pick(t, taskPoints, 2)
		}
		for _, point := range tried {
			t.Run(on+"/"+point, func(t *testing.T) {
				runBeside(t)
				s := newSite(t, policy(on), survey())
				first := s.start(point)
				id := carryOut(t, first, "")
				first.killed()
				second := s.start("")
				id = carryOut(t, second, id)
				verifyTask(t, second, id)
				second.end()
				audit(t, s, nil, "")
			})
		}
	}
}

// pick returns so many of the points, by a seed that is logged.
func pick(t *testing.T, points []string, count int) (some []string) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(points))[:count] {
		some = append(some, points[i])
	}
	return some
}

// A plugin that is killed at every step of a task goes on with it.
func TestPluginKilledOverTask(t *testing.T) {
	runBeside(t)
	s := newSite(t, "", survey())
	h := s.start("")
	id := carryOutBetween(t, h, "", func() {
		var all []status
		h.must("Controller.status@Survey", nil, &all)
		if all[0].PID > 0 {
			must(t, syscall.Kill(all[0].PID, syscall.SIGKILL))
		}
	})
	verifyTask(t, h, id)
	h.end()
	audit(t, s, nil, "")
}

// carryOut leads a task to its end, as far as the host comes, and returns its id: of that task, or
// with "" of the one that it finds or starts.
func carryOut(t *testing.T, h *host, id string) string {
	t.Helper()
	return carryOutBetween(t, h, id, func() {})
}

// carryOutBetween is carryOut that calls between before each step.
func carryOutBetween(t *testing.T, h *host, id string, between func()) string {
	t.Helper()
	if id == "" {
		if id = findOrStart(t, h); id == "" {
			return ""
		}
	}
	happened := ""
	for late := time.Now().Add(patience); time.Now().Before(late); {
		var now task
		if err := h.ask("Tasks.get", map[string]any{"task": id}, &now); err != nil {
			if errors.Is(err, errRefused) && strings.Contains(err.Error(), "not active") { // the host begins
				<-time.After(5 * time.Millisecond)
				continue
			}
			if errors.Is(err, errRefused) {
				t.Fatalf("the task is lost: %v; the host's log is:\n%s", err, h.log.String())
			}
			return id // the host is dead
		}
		if now.Status != "PENDING" {
			return id
		}
		if len(now.Steps) > 0 {
			step := now.Steps[len(now.Steps)-1]
			if !step.Cleared && !step.Submitted {
				if step.ID != happened {
					between()
					happened = step.ID
				}
				err := h.ask("Tasks.submit", map[string]any{"task": id, "step": step.ID, "values": map[string]string{"answer": step.ID}}, nil)
				if err != nil && !errors.Is(err, errRefused) {
					return id
				}
			}
		}
		_ = h.ask("Tasks.get", map[string]any{"task": id, "revision": now.Revision, "wait": 1}, nil)
	}
	t.Fatalf("the task comes to no end; the host's log is:\n%s", h.log.String())
	return ""
}

// findOrStart returns the id of the only task, which it starts if there is none; "" if the host dies
// meanwhile.
func findOrStart(t *testing.T, h *host) (id string) {
	t.Helper()
	params := map[string]any{"callsign": "Survey", "parameters": map[string]any{"questions": []string{"one?", "two?"}}}
	for late := time.Now().Add(patience); time.Now().Before(late); <-time.After(5 * time.Millisecond) {
		var all struct{ Tasks []task }
		if h.ask("Tasks.list", nil, &all) != nil {
			if h.dead() {
				return ""
			}
			continue
		}
		if len(all.Tasks) > 1 {
			t.Fatalf("there are %d tasks", len(all.Tasks))
		}
		if len(all.Tasks) == 1 {
			return all.Tasks[0].ID
		}
		var made task
		if h.ask("Tasks.start", params, &made) == nil {
			return made.ID
		}
	}
	t.Fatalf("no task can be started; the host's log is:\n%s", h.log.String())
	return ""
}

// verifyTask fails the test unless the task has succeeded with each step once, and left what it
// should.
func verifyTask(t *testing.T, h *host, id string) {
	t.Helper()
	var all struct{ Tasks []task }
	h.must("Tasks.list", nil, &all)
	var got task
	h.must("Tasks.get", map[string]any{"task": id}, &got)
	steps := ""
	for _, s := range got.Steps {
		steps += fmt.Sprintf("%s %t ", s.ID, s.Cleared)
	}
	if len(all.Tasks) != 1 || got.Status != "SUCCESS" || steps != "question-1 true question-2 true " || len(got.Outputs) != 1 {
		t.Fatalf("of %d tasks the one is %+v; the host's log is:\n%s", len(all.Tasks), got, h.log.String())
	}
	answer, err := http.Get(strings.TrimSuffix(h.url(), "/jsonrpc") + "/Service/Tasks/" + got.Outputs[0].Path)
	must(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if string(content) != `["question-1","question-2"]` || err != nil {
		t.Errorf("it left %q, %v", content, err)
	}
}

// On a full disk tasks and outputs are refused with the reason, and leave nothing; what was there
// stays, and all goes on once there is room.
func TestTasksOnFullDisk(t *testing.T) {
	runBeside(t)
	file, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	d := &disk{t, file}
	write(t, file, nil)
	must(t, os.Truncate(file, diskSize))
	d.run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,nodiscard", file)
	d.mountAt(dir)
	s, err := store.Open(filepath.Join(dir, "store.db"), store.Options{})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	all, err := taskhost.New(taskhost.Options{Store: s, Dir: filepath.Join(dir, "outputs"), Config: configs.DefaultTasks(), Log: zerolog.Nop()})
	must(t, err)
	server, ctx := all.Service(nil), shell.WithCaller(t.Context(), "A")
	made, err := server.Create(ctx, &taskspb.CreateRequest{Title: "before"})
	must(t, err)
	filler := filepath.Join(dir, "filler")
	for err = nil; err == nil; { // until nothing fits any more
		err = appendTo(filler, 64<<10)
	}
	for err = nil; err == nil; {
		_, err = server.Update(ctx, &taskspb.UpdateRequest{Task: made.GetId(), Log: []string{strings.Repeat("x", 4000)}})
	}
	if !strings.Contains(err.Error(), "no space left") {
		t.Errorf("the error is %v", err)
	}
	if _, err := server.Create(ctx, &taskspb.CreateRequest{Parameters: fmt.Appendf(nil, `{"a":%q}`, strings.Repeat("x", 100_000))}); err == nil {
		t.Error("a task was made on a full disk")
	}
	if got, err := all.Get(t.Context(), made.GetId()); err != nil || got.GetTitle() != "before" {
		t.Errorf("what was there is %v, %v", got, err)
	}
	must(t, os.Remove(filler))
	ended, err := server.Finish(ctx, &taskspb.FinishRequest{Task: made.GetId(), Status: taskspb.Status_STATUS_SUCCESS})
	if err != nil || ended.GetStatus() != taskspb.Status_STATUS_SUCCESS {
		t.Errorf("with room again: %v, %v", ended, err)
	}
	if list, err := all.List(t.Context(), &taskspb.ListRequest{}); err != nil || len(list.GetTasks()) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
}

// appendTo makes a file longer.
func appendTo(path string, size int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, size))
	return errors.Join(err, f.Sync(), f.Close())
}
