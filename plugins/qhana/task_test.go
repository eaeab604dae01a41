package qhana

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/plugins/tasks/taskspb"
)

// bigTask is a task that has all that a task may have.
func bigTask() *taskspb.Task {
	return &taskspb.Task{
		Id: "big", Callsign: "Optimizer", Title: "Optimizer", Revision: 7, Status: taskspb.Status_STATUS_PENDING,
		Created: timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)),
		Log:     "began\nwaits\n", Progress: &taskspb.Progress{Value: 0, Target: 100, Unit: "%"},
		Parameters: []byte(`{"password":"secret"}`), Data: []byte(`"secret"`),
		Steps: []*taskspb.Step{
			{Id: "of_setup", Href: "http://of.example/process/?callback=c", Ui: "http://of.example/ui/?callback=c", Cleared: true},
			{Id: "pass data", Title: "Pass <data>", Schema: []byte(`{"properties":{"features":{"type":"string","format":"uri"}},"required":["features"]}`), Values: []byte(`{"features":"secret"}`)},
		},
		Outputs: []*taskspb.Output{{Name: "weights.json", Key: "k1", ContentType: "application/json", DataType: "entity/vector", Digest: "d", Size: 2}},
		Links:   []*taskspb.Link{{Type: "of-weights", Href: "weights"}, {Type: "of-evaluate", Href: "http://of.example/evaluate"}},
	}
}

// newTaskRig returns a rig with that task.
func newTaskRig(t *testing.T, task *taskspb.Task) *rig {
	t.Helper()
	r := newRig(t, []Instance{optimizer()})
	r.tasks.tasks = append(r.tasks.tasks, task)
	r.tasks.files = map[string]string{"k1": "[]"}
	return r
}

// QHAna's backend reads progress and steps into closed records: each has these members and no
// others.
func TestTaskResource(t *testing.T) {
	task := bigTask()
	r := newTaskRig(t, task)
	base := r.server.URL + "/qhana/tasks/big/"
	want := map[string]any{
		"status": "PENDING", "log": "began\nwaits\n",
		"progress": map[string]any{"value": 0.0, "start": 0.0, "target": 100.0, "unit": "%"},
		"steps": []any{
			map[string]any{"stepId": "of_setup", "href": "http://of.example/process/?callback=c", "uiHref": "http://of.example/ui/?callback=c", "cleared": true},
			map[string]any{"stepId": "pass data", "href": base + "steps/pass%20data/", "uiHref": base + "steps/pass%20data/ui/", "cleared": false},
		},
		"outputs": []any{},
		"links": []any{
			map[string]any{"type": "subscribe", "href": base}, map[string]any{"type": "subscription", "href": base},
			map[string]any{"type": "cancel", "href": base + "cancel/"},
			map[string]any{"type": "of-weights", "href": r.server.URL + "/qhana/web/Optimizer/weights"},
			map[string]any{"type": "of-evaluate", "href": "http://of.example/evaluate"},
		},
		"taskId": "big", "title": "Optimizer", "callsign": "Optimizer", "revision": 7.0, "created": "2026-01-02T03:04:05Z",
	}
	got := r.do(t, "GET", "/qhana/tasks/big/", "")
	if diff := cmp.Diff(want, got.decode(t)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(got.body, "secret") {
		t.Errorf("the resource has what is the plugin's own: %s", got.body)
	}

	task.Status, task.Reason, task.Progress = taskspb.Status_STATUS_FAILURE, "no reason", nil
	ended := r.do(t, "GET", "/qhana/tasks/big/", "").decode(t)
	if _, there := ended["progress"]; there || ended["status"] != "FAILURE" || ended["reason"] != "no reason" {
		t.Errorf("%v", ended)
	}
	output := map[string]any{"href": base + "outputs/k1/weights.json", "dataType": "entity/vector", "contentType": "application/json", "name": "weights.json"}
	if diff := cmp.Diff([]any{output}, ended["outputs"]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if links, ok := ended["links"].([]any); !ok || len(links) != 4 {
		t.Errorf("a task that has ended can be cancelled: %v", ended["links"])
	}
}

// The address of a task that its own links have is spelled as the client spells it.
func TestTaskAsSpelled(t *testing.T) {
	r := newTaskRig(t, bigTask())
	const self = "http://tv.example:9998/qhana/tasks/big/"
	got := r.do(t, "GET", "/qhana/tasks/big/", "", "Host", "tv.example:9998").decode(t)
	for i, name := range []string{"subscribe", "subscription"} {
		link := got["links"].([]any)[i] //nolint:errcheck // a panic shows what is there
		if diff := cmp.Diff(map[string]any{"type": name, "href": self}, link); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	r.do(t, "POST", "/qhana/tasks/big/", `{"command":"subscribe","webhookHref":"http://c.example/"}`, "Host", "tv.example:9998")
	if diff := cmp.Diff([]string{`subscribe big http://c.example/ "" ` + self + " "}, r.tasks.takeCalls()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWait(t *testing.T) {
	r := newTaskRig(t, bigTask())
	for query, want := range map[string]string{
		"wait=1.5": "wait big 7 1.5s", "wait=60&revision=3": "wait big 3 1m0s",
		"wait=x": "", "wait=-1": "", "wait=3601": "", "wait=1&revision=x": "", "revision=3": "none", "wait=NaN": "",
	} {
		got := r.do(t, "GET", "/qhana/tasks/big/?"+query, "")
		calls := r.tasks.takeCalls()
		switch {
		case want == "" && got.status == 422 && calls == nil, want == "none" && got.status == 200 && calls == nil:
		case got.status != 200 || !cmp.Equal(calls, []string{want}):
			t.Errorf("%s: %d, %v; want %s", query, got.status, calls, want)
		}
	}
}

func TestSubscribe(t *testing.T) {
	r := newTaskRig(t, bigTask())
	self := r.server.URL + "/qhana/tasks/big/"
	for body, want := range map[string]string{
		`{"command":"subscribe","webhookHref":"http://c.example/hook?id=1"}`:                              `subscribe big http://c.example/hook?id=1 "" ` + self + ` `,
		`{"command":"subscribe","webhookHref":"http://c.example/","event":null}`:                          `subscribe big http://c.example/ "" ` + self + ` `,
		`{"command":"subscribe","webhookHref":"http://c.example/","event":"steps","secret":"whsec_c2Vj"}`: `subscribe big http://c.example/ "steps" ` + self + ` whsec_c2Vj`,
		`{"command":"unsubscribe","webhookHref":"http://c.example/"}`:                                     `unsubscribe big http://c.example/ "" true`,
		`{"command":"unsubscribe","webhookHref":"http://c.example/","event":null}`:                        `unsubscribe big http://c.example/ "" false`,
		`{"command":"unsubscribe","webhookHref":"http://c.example/","event":"details"}`:                   `unsubscribe big http://c.example/ "details" false`,
	} {
		for _, mediaType := range []string{"application/json", "application/JSON"} {
			got := r.do(t, "POST", "/qhana/tasks/big/", body, contentType, mediaType)
			if got.status != 200 || got.decode(t)["taskId"] != "big" {
				t.Errorf("%s: %d %s", body, got.status, got.body)
			}
			if diff := cmp.Diff([]string{want}, r.tasks.takeCalls()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", body, diff)
			}
		}
	}
	for body, wrong := range map[string]string{
		`{"command":"follow","webhookHref":"http://c.example/"}`:                       "command",
		`{"command":"subscribe"}`:                                                      "webhookHref",
		`{"command":"subscribe","webhookHref":"ftp://c.example/"}`:                     "webhookHref",
		`{"command":"subscribe","webhookHref":"http://c.example/","event":"details2"}`: "event",
		`{"command":"subscribe","webhookHref":"http://c.example/","event":5}`:          "event",
		`[]`: "_schema", ``: "_schema", `{"command":5}`: "_schema",
	} {
		got := r.do(t, "POST", "/qhana/tasks/big/", body)
		if got.status != 422 || !strings.Contains(got.body, `{"json":{"`+wrong+`":`) || r.tasks.takeCalls() != nil {
			t.Errorf("%s: %d %s; want it to name %s", body, got.status, got.body, wrong)
		}
	}
	if got := r.do(t, "POST", "/qhana/tasks/none/", `{"command":"subscribe","webhookHref":"http://c.example/"}`); got.status != 404 {
		t.Errorf("a task that there is not: %d", got.status)
	}
}

func TestSubmit(t *testing.T) {
	r := newTaskRig(t, bigTask())
	const step = "/qhana/tasks/big/steps/pass%20data/"
	got := r.do(t, "POST", step, "features=http://a.example/", contentType, formType)
	if got.status != 303 || got.header.Get("Location") != r.server.URL+"/qhana/tasks/big/" {
		t.Errorf("%d to %s %s", got.status, got.header.Get("Location"), got.body)
	}
	if diff := cmp.Diff([]string{`submit big pass data {"features":"http://a.example/"}`}, r.tasks.takeCalls()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// A step without a schema is ended with an empty POST that has no type.
	if got := r.do(t, "POST", "/qhana/tasks/big/steps/of_setup/", ""); got.status != 303 || !cmp.Equal(r.tasks.takeCalls(), []string{"submit big of_setup {}"}) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do(t, "POST", step, "x=1", contentType, formType); got.status != 422 || !strings.Contains(got.body, `"form":{"features":["Missing data`) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do(t, "POST", step, "x=%3Cb%3E", contentType, formType, "Accept", "text/html"); got.status != 422 || !strings.Contains(got.body, "Missing data") || !strings.Contains(got.body, `<form method="post" action="`+r.server.URL+step) {
		t.Errorf("%d %s", got.status, got.body)
	}
	r.tasks.takeCalls()
	r.tasks.err = errRefused
	if got := r.do(t, "POST", step, "features=http://a.example/", contentType, formType); got.status != 422 || !strings.Contains(got.body, errRefused.Error()) {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do(t, "POST", step, "features=http://a.example/", contentType, formType, "Accept", "text/html"); got.status != 422 ||
		!strings.Contains(got.body, `<p class="error">`+errRefused.Error()) || !strings.Contains(got.body, `value="http://a.example/"`) {
		t.Errorf("a browser: %d %s", got.status, got.body)
	}
	page := r.do(t, "GET", step+"ui/", "")
	for _, want := range []string{"<h1>Pass &lt;data&gt;</h1>", `action="` + r.server.URL + step, `name="features" type="url" value="" required`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s\n%s", want, page.body)
		}
	}
	for path, status := range map[string]int{
		"/qhana/tasks/big/steps/": 404, "/qhana/tasks/big/steps/none/": 404, "/qhana/tasks/none/steps/of_setup/": 404,
		step: 200, step + "more/": 404, step + "ui/x": 404,
	} {
		if got := r.do(t, "GET", path, ""); got.status != status {
			t.Errorf("GET %s: %d; want %d", path, got.status, status)
		}
	}
}

func TestCancel(t *testing.T) {
	r := newTaskRig(t, bigTask())
	got := r.do(t, "POST", "/qhana/tasks/big/cancel/", "")
	if got.status != 303 || !cmp.Equal(r.tasks.takeCalls(), []string{"cancel big"}) {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestOutput(t *testing.T) {
	task := bigTask()
	task.Status = taskspb.Status_STATUS_SUCCESS
	task.Outputs = append(task.Outputs, &taskspb.Output{Name: "a b/c.html", Key: "k2", ContentType: "text/html"})
	r := newTaskRig(t, task)
	r.tasks.files["k2"] = "<script>"
	got := r.do(t, "GET", "/qhana/tasks/big/outputs/k1/weights.json", "")
	if got.status != 200 || got.body != "[]" || got.header.Get(contentType) != "application/json" || got.header.Get("X-Data-Type") != "entity/vector" {
		t.Errorf("%d %q %v", got.status, got.body, got.header)
	}
	if got := r.do(t, "GET", "/qhana/tasks/big/outputs/k1/weights.json", "", "Range", "bytes=1-"); got.status != 206 || got.body != "]" {
		t.Errorf("a part of it: %d %q", got.status, got.body)
	}
	html := r.do(t, "GET", "/qhana/tasks/big/outputs/k2/a%20b%2Fc.html", "")
	if html.status != 200 || html.header.Get("Content-Security-Policy") != "sandbox" || html.header.Get("X-Data-Type") != "" {
		t.Errorf("%d %v", html.status, html.header)
	}
	for _, path := range []string{"k1/other.json", "k3/weights.json", "weights.json", "k1/weights.json/", "k1/"} {
		if got := r.do(t, "GET", "/qhana/tasks/big/outputs/"+path, ""); got.status != 404 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}

// A step with a page of the plugin's own tells it where the form is sent: to the host, or to where
// the step leads.
func TestOwnPageOfStep(t *testing.T) {
	task := bigTask()
	task.Steps = []*taskspb.Step{
		{Id: "own", Ui: "pages/own.html", Cleared: true},
		{Id: "elsewhere", Ui: "/pages/own.html", Href: "http://of.example/process/?callback=c", Cleared: true},
		{Id: "below", Href: "take/it"},
	}
	r := newTaskRig(t, task)
	r.instances.web = map[string]http.Handler{"Optimizer": http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, _ = io.WriteString(w, request.Header.Get("Form-Action"))
	})}
	for step, want := range map[string]string{"own": r.server.URL + "/qhana/tasks/big/steps/own/", "elsewhere": "http://of.example/process/?callback=c"} {
		got := r.do(t, "GET", "/qhana/tasks/big/steps/"+step+"/ui/", "")
		if got.body != want || got.header.Get("Path") != "pages/own.html" {
			t.Errorf("%s: %d %s at %s; want %s", step, got.status, got.body, got.header.Get("Path"), want)
		}
	}
	if got := r.do(t, "GET", "/qhana/tasks/big/steps/below/", "").decode(t); got["href"] != r.server.URL+"/qhana/web/Optimizer/take/it" {
		t.Errorf("%v", got)
	}
}
