package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dormouse/plugins/sdk/sdktest"
	"dormouse/plugins/tasks/taskspb"
)

func TestMain(m *testing.M) { sdktest.Main(m, &objective{problems: make(map[string]*problem)}) }

// A task's virtual plugin is the function of the task's data, also in the plugin's next life and for
// the links of the task, until the task ends.
func TestObjective(t *testing.T) {
	data := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, map[string]string{"/features": "[[1, 2], [3, 4]]", "/target": "[1, 0]"}[r.URL.Path])
	}))
	t.Cleanup(data.Close)
	h := sdktest.Start(t, sdktest.Options{})
	id := h.StartTask("", map[string]any{"regularization": 0.5}).GetId()
	h.WaitStep(id, "pass_data")
	if err := h.SubmitStep(id, "pass_data", map[string]string{"features": data.URL + "/features"}); err == nil {
		t.Error("data without a target are taken")
	}
	if err := h.SubmitStep(id, "pass_data", map[string]string{"features": data.URL + "/features", "target": data.URL + "/target"}); err != nil {
		t.Fatal(err)
	}
	h.WaitStep(id, "evaluate")
	h.Restart()
	h.WaitStep(id, "evaluate")
	children := h.VirtualCallsigns()
	if len(children) != 1 || !strings.HasSuffix(children[0], id) {
		t.Fatalf("the virtual plugins are %q", children)
	}
	var size int
	var l losses
	child := h.Virtual(children[0])
	if err := child.Call("weights", nil, &size); err != nil || size != 2 {
		t.Errorf("%d weights, %v", size, err)
	}
	if err := child.Call("evaluate", given{[]float64{1, 1}}, &l); err != nil || l.Loss != (4.0+49)/2+1 {
		t.Errorf("the loss is %v, %v", l, err)
	}
	if err := child.Call("evaluate", given{[]float64{1}}, nil); err == nil {
		t.Error("one weight is taken for two")
	}
	if err := h.Call("weights", nil, nil); err == nil {
		t.Error("the plugin itself has weights")
	}
	evaluate := func(body string) string {
		answer := h.Serve(httptest.NewRequest(http.MethodPost, "/of/"+id+"/evaluate", strings.NewReader(body)))
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(answer.StatusCode, " ", string(text))
	}
	if got := evaluate(`{"weights": [1, 1]}`); got != "200 {\"loss\":27.5}\n" {
		t.Errorf("the link answers %s", got)
	}
	if got := evaluate(`{"weights": []}`); !strings.HasPrefix(got, "422 ") {
		t.Errorf("no weights are answered with %s", got)
	}
	if err := h.SubmitStep(id, "evaluate", nil); err != nil {
		t.Fatal(err)
	}
	if end := h.EndTask(id); end.GetStatus() != taskspb.Status_STATUS_SUCCESS || len(h.VirtualCallsigns()) > 0 {
		t.Errorf("it ended %v and left %q", end, h.VirtualCallsigns())
	}
	if got := evaluate(`{"weights": [1, 1]}`); !strings.HasPrefix(got, "404 ") {
		t.Errorf("after the end the link answers %s", got)
	}
}
