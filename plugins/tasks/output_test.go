package tasks

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/tasks/taskspb"
)

// put puts an output of A.
func (r *rig) put(id, name, content string) (*taskspb.Output, error) {
	r.Helper()
	w, err := r.putOutput(r.Context(), "A", id, &taskspb.Output{Name: name, ContentType: "text/plain", DataType: "entity/list"})
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(w, strings.NewReader(content)); err != nil {
		w.giveUp()
		return nil, err
	}
	return w.finish(r.Context())
}

// files returns the names of the files below the outputs.
func (r *rig) filesOf(id string) (names []string) {
	r.Helper()
	entries, err := os.ReadDir(filepath.Join(r.Dir, id))
	if err != nil && !os.IsNotExist(err) {
		r.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// An output is seen when its task has ended, under its key, and is gone with the task.
func TestOutputs(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	first, err := r.put(id, "a", "one")
	r.must(err)
	second, err := r.put(id, "a", "two")
	r.must(err)
	if _, err := r.put(id, "b", ""); err != nil {
		t.Fatal(err)
	}
	if got := r.task(id); len(got.GetOutputs()) != 0 {
		t.Errorf("before the end others see %v", got.GetOutputs())
	}
	_, _, err = r.OpenOutput(t.Context(), id, second.GetKey())
	r.refused(err, ErrUnknown)
	_, f, err := r.openOutput(t.Context(), id, "a", "A")
	r.must(err)
	content, err := io.ReadAll(f)
	r.must(err)
	r.must(f.Close())
	if string(content) != "two" || second.GetSize() != 3 || second.GetDigest() == first.GetDigest() || second.GetKey() == first.GetKey() {
		t.Errorf("the owner reads %q of %v", content, second)
	}
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
	r.must(err)
	if got := r.task(id).GetOutputs(); len(got) != 2 || got[0].GetName() != "a" || len(r.filesOf(id)) != 2 {
		t.Errorf("it left %v, files %v", got, r.filesOf(id))
	}
	_, err = r.put(id, "c", "late")
	r.refused(err, ErrEnded)
	for _, wrong := range []string{"", "a/b", "..", "a\n", strings.Repeat("x", maxName+1)} {
		if _, err := r.put(r.makeTask(nil).GetId(), wrong, ""); err == nil {
			t.Errorf("an output may be named %q", wrong)
		}
	}
	other := r.makeTask(nil).GetId()
	_, _, err = r.openOutput(t.Context(), other, second.GetKey(), "A")
	r.refused(err, ErrUnknown)

	answer := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("Range", "bytes=1-")
	r.ServeOutput(answer, request, id, second.GetKey())
	if answer.Code != http.StatusPartialContent || answer.Body.String() != "wo" || answer.Header().Get("X-Data-Type") != "entity/list" || answer.Header().Get("Content-Type") != "text/plain" {
		t.Errorf("over HTTP it is %d %q %v", answer.Code, answer.Body, answer.Header())
	}
	answer = httptest.NewRecorder()
	r.ServeOutput(answer, request, id, "none")
	if answer.Code != http.StatusNotFound {
		t.Errorf("an unknown one is %d", answer.Code)
	}
}

// What was cut off leaves nothing, also if the host ends before it is whole.
func TestOutputCutOff(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(func(q *taskspb.CreateRequest) { q.Resumes = 1 }).GetId()
	w, err := r.putOutput(t.Context(), "A", id, &taskspb.Output{Name: "a"})
	r.must(err)
	_, err = w.Write([]byte("half"))
	r.must(err)
	w.giveUp()
	if names := r.filesOf(id); len(names) != 0 || r.files.bytes != 0 {
		t.Errorf("it left %v, %d bytes", names, r.files.bytes)
	}
	_, err = r.put(id, "whole", "whole")
	r.must(err)
	w, err = r.putOutput(t.Context(), "A", id, &taskspb.Output{Name: "b"})
	r.must(err)
	_, err = w.Write([]byte("half"))
	r.must(err)
	r.must(os.MkdirAll(filepath.Join(r.Dir, "stray"), 0o700))
	r.restart()
	if names := r.filesOf(id); len(names) != 1 || r.files.bytes != 5 {
		t.Errorf("after a restart there are %v, %d bytes", names, r.files.bytes)
	}
	if _, err := os.Stat(filepath.Join(r.Dir, "stray")); !os.IsNotExist(err) {
		t.Errorf("the directory of no task is there: %v", err)
	}
}

// The outputs of one task, and of all, have bounds; the error says what is left.
func TestOutputQuota(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Tasks) { c.OutputBytes, c.AllOutputBytes = 100, 150 }})
	id := r.makeTask(nil).GetId()
	_, err := r.put(id, "a", strings.Repeat("x", 60))
	r.must(err)
	_, err = r.put(id, "b", strings.Repeat("x", 60))
	r.refused(err, ErrFull)
	if !strings.Contains(err.Error(), "40 B are left of 100 B") {
		t.Errorf("the error is %v", err)
	}
	_, err = r.put(id, "a", strings.Repeat("x", 90)) // in the place of the first
	r.must(err)
	second := r.makeTask(nil).GetId()
	_, err = r.put(second, "a", strings.Repeat("x", 61))
	r.refused(err, ErrFull)
	_, err = r.put(second, "a", strings.Repeat("x", 60))
	r.must(err)
	if !bytes.Contains([]byte(r.Dir), []byte("outputs")) || r.files.bytes != 150 {
		t.Errorf("there are %d bytes", r.files.bytes)
	}
}
