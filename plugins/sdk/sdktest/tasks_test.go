package sdktest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/plugins/tasks/taskspb"
)

// taskRules are those of the parrot's tasks.
var taskRules = sdk.TaskRules{Resumes: 3, Quiet: time.Hour}

// RunTask does what the title of a task says.
func (p *parrot) RunTask(ctx context.Context, t *sdk.Task) error {
	switch t.Title {
	case "repeat":
		return p.repeat(ctx, t)
	case "fail":
		return errors.New("no seeds")
	case "panic":
		panic("a cat")
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// repeat asks for two words, one after the other, and leaves both as an output. A life that goes on
// knows the first one by its data.
func (p *parrot) repeat(ctx context.Context, t *sdk.Task) error {
	var words []string
	if _, err := t.Data(&words); err != nil {
		return err
	}
	if err := t.Logf(ctx, "life %d begins with %d words", t.Resumed, len(words)); err != nil {
		return err
	}
	for len(words) < 2 {
		var given struct {
			Word string `json:"word"`
		}
		step := sdk.Step{ID: fmt.Sprintf("word%d", len(words)), Schema: json.RawMessage(`{"type":"object"}`), Check: checkWord}
		if err := t.Ask(ctx, step, &given); err != nil {
			return err
		}
		words = append(words, given.Word)
		if err := errors.Join(t.SetData(ctx, words), t.SetProgress(ctx, sdk.Progress{Value: float64(len(words)), Target: 2, Unit: "words"})); err != nil {
			return err
		}
	}
	if err := t.SetLink(ctx, "cage", "/cage"); err != nil {
		return err
	}
	long := strings.NewReader(strings.Join(words, " ") + strings.Repeat("!", 600<<10))
	return t.PutOutput(ctx, sdk.Output{Name: "words", ContentType: "text/plain", DataType: "entity/list"}, long)
}

// checkWord refuses an empty word.
func checkWord(values json.RawMessage) error {
	if !bytes.Contains(values, []byte(`"word":"`)) {
		return errors.New("a parrot needs a word")
	}
	return nil
}

// A task goes from step to step, with a sleep and a restart of the plugin between any two.
func TestTask(t *testing.T) {
	between := map[string]func(h *sdktest.Harness){
		"without more": func(*sdktest.Harness) {},
		"hibernated":   (*sdktest.Harness).Hibernate,
		"restarted":    (*sdktest.Harness).Restart,
	}
	for name, happens := range between {
		t.Run(name, func(t *testing.T) {
			h := sdktest.Start(t, options)
			id := h.StartTask("repeat", map[string]any{"n": 2}).GetId()
			h.WaitStep(id, "word0")
			if err := h.SubmitStep(id, "word0", nil); err == nil || !strings.Contains(err.Error(), "a parrot needs a word") {
				t.Errorf("an empty word: %v", err)
			}
			happens(h)
			if err := h.SubmitStep(id, "word0", map[string]any{"word": "hello"}); err != nil {
				t.Fatal(err)
			}
			h.WaitStep(id, "word1")
			happens(h)
			if err := h.SubmitStep(id, "word1", map[string]any{"word": "there"}); err != nil {
				t.Fatal(err)
			}
			task := h.EndTask(id)
			if task.GetStatus() != taskspb.Status_STATUS_SUCCESS || len(task.GetSteps()) != 2 || !task.GetSteps()[1].GetCleared() ||
				task.GetProgress().GetValue() != 2 || len(task.GetLinks()) != 1 || task.GetQuiet().AsDuration() != time.Hour {
				t.Errorf("it ended %v", task)
			}
			if got := h.Output(id, "words"); !bytes.HasPrefix(got, []byte("hello there!")) || len(got) != 600<<10+len("hello there") {
				t.Errorf("it left %d bytes, %.20q", len(got), got)
			}
			wanted := map[string]int{"without more": 1, "hibernated": 1, "restarted": 3}[name]
			if lives := strings.Count(task.GetLog(), "begins with"); lives != wanted {
				t.Errorf("it had %d lives: %s", lives, task.GetLog())
			}
		})
	}
}

// A task fails with the error of its plugin, or when it panics.
func TestTaskFails(t *testing.T) {
	h := sdktest.Start(t, options)
	for title, want := range map[string]string{"fail": "no seeds", "panic": "the plugin panicked: a cat"} {
		task := h.EndTask(h.StartTask(title, nil).GetId())
		if task.GetStatus() != taskspb.Status_STATUS_FAILURE || task.GetReason() != want || !strings.HasSuffix(task.GetLog(), want+"\n") {
			t.Errorf("%s ended %v", title, task)
		}
	}
}

// A plugin ends a task that is to be cancelled.
func TestCancelTask(t *testing.T) {
	h := sdktest.Start(t, options)
	id := h.StartTask("wait", nil).GetId()
	h.WaitTask(id, func(task *taskspb.Task) bool { return task.GetStarted() != nil })
	h.CancelTask(id)
	if task := h.EndTask(id); task.GetReason() != "cancelled" || task.GetStatus() != taskspb.Status_STATUS_FAILURE {
		t.Errorf("it ended %v", task)
	}
}

// A task goes on in as many lives as its plugin has said.
func TestTaskGoesOnSoOften(t *testing.T) {
	h := sdktest.Start(t, options)
	id := h.StartTask("wait", nil).GetId()
	for life := range uint32(4) {
		h.WaitTask(id, func(task *taskspb.Task) bool { return task.GetStarted() != nil && task.GetResumed() == life })
		h.Restart()
	}
	if task := h.EndTask(id); task.GetReason() != "the plugin was replaced" {
		t.Errorf("it ended %v", task)
	}
}

// taskMethods use tasks of other instances, and make some that the plugin works on by itself.
func (p *parrot) taskMethods() sdk.Methods {
	return sdk.Methods{
		"nest": sdk.Method(func(ctx context.Context, title string) (string, error) {
			t, err := p.in.Host.CreateTask(ctx, sdk.NewTask{Title: title, Data: 7})
			if err != nil {
				return "", err
			}
			if err := t.Log(ctx, "one", "two"); err != nil {
				return "", err
			}
			return t.ID, t.Fail(ctx, "no twigs")
		}),
		"order": sdk.Method(func(ctx context.Context, callsign string) (string, error) {
			task, err := p.in.Host.StartTask(ctx, callsign, "repeat", nil)
			if err != nil {
				return "", err
			}
			for _, step := range []string{"word0", "word1"} {
				for len(task.GetSteps()) == 0 || task.GetSteps()[len(task.GetSteps())-1].GetId() != step {
					if task, err = p.in.Host.WaitTask(ctx, task.GetId(), task.GetRevision()); err != nil {
						return "", err
					}
				}
				if task, err = p.in.Host.SubmitStep(ctx, task.GetId(), step, map[string]string{"word": step}); err != nil {
					return "", err
				}
			}
			for task.GetStatus() == taskspb.Status_STATUS_PENDING {
				if task, err = p.in.Host.WaitTask(ctx, task.GetId(), task.GetRevision()); err != nil {
					return "", err
				}
			}
			var content bytes.Buffer
			_, err = p.in.Host.CopyOutput(ctx, task.GetId(), task.GetOutputs()[0].GetKey(), &content)
			return strings.TrimRight(content.String(), "!"), err
		}),
		"orders": sdk.Method(func(ctx context.Context, callsign string) (n int, err error) {
			for _, err := range p.in.Host.Tasks(ctx, callsign) {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		}),
	}
}

// A plugin uses the tasks of another instance, and makes some that it works on by itself.
func TestTasksOfOthers(t *testing.T) {
	o := options
	o.Beside = []string{"Other"}
	h := sdktest.Start(t, o)
	var words string
	if err := h.Call("order", "Other", &words); err != nil || words != "word0 word1" {
		t.Errorf("got %q, %v", words, err)
	}
	var id string
	if err := h.Call("nest", "nest", &id); err != nil {
		t.Fatal(err)
	}
	if task := h.Task(id); task.GetReason() != "no twigs" || task.GetLog() != "one\ntwo\nno twigs\n" {
		t.Errorf("its own task is %v", task)
	}
	var n int
	if err := h.Call("orders", "Other", &n); err != nil || n != 1 {
		t.Errorf("there are %d, %v", n, err)
	}
}
