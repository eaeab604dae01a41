package qhana

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/shell"
)

const process = "/qhana/plugins/optimizer@1-2-0/process/"

// form is the content type of a form, for rig.do.
const contentType = "Content-Type"

func TestStart(t *testing.T) {
	r := newRig(t, []Instance{optimizer()})
	for i, test := range []struct{ name, path, body, contentType, want string }{
		{"a form", process, "c=1.5&features=http%3A%2F%2Fa.example%2F1", formType, `start Optimizer "Optimizer" {"c":1.5,"features":"http://a.example/1"} `},
		{"JSON", process, `{"c":2,"features":"http://a.example/1"}`, "application/JSON; charset=UTF-8", `start Optimizer "Optimizer" {"c":2,"features":"http://a.example/1"} `},
		{"with a callback", process + "?callback=http%3A%2F%2Fc.example%2Fhook%3Fid%3D1", "c=1&features=data:,x", formType, `start Optimizer "Optimizer" {"c":1,"features":"data:,x"} http://c.example/hook?id=1`},
	} {
		got := r.do(t, "POST", test.path, test.body, contentType, test.contentType)
		if want := fmt.Sprintf("%s/qhana/tasks/t%d/", r.server.URL, i+1); got.status != http.StatusSeeOther || got.header.Get("Location") != want {
			t.Errorf("%s: %d to %s %s; want to %s", test.name, got.status, got.header.Get("Location"), got.body, want)
		}
		if diff := cmp.Diff([]string{test.want}, r.tasks.takeCalls()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		if task := r.do(t, "GET", got.header.Get("Location"), ""); task.status != 200 {
			t.Errorf("the task is answered with %d %s", task.status, task.body)
		}
	}
}

// A POST of nothing starts work that needs no parameters.
func TestStartWithNothing(t *testing.T) {
	r := newRig(t, []Instance{problem1()})
	for _, headers := range [][]string{nil, {contentType, formType}, {contentType, "application/json"}} {
		if got := r.do(t, "POST", "/qhana/plugins/problem-1@0-0-0/process/", "", headers...); got.status != http.StatusSeeOther {
			t.Errorf("%v: %d %s", headers, got.status, got.body)
		}
		if diff := cmp.Diff([]string{`start Problem1 "problem.1" {} `}, r.tasks.takeCalls()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestWrongStart(t *testing.T) {
	r := newRig(t, []Instance{optimizer()})
	many := "a=1" + strings.Repeat("&a=1", 9999)
	for _, test := range []struct {
		name, query, body, contentType string
		status                         int
		want                           string // errors, or a part of the answer
	}{
		{"a form without inputs", "", "", formType, 422, `{"code":422,"status":"Unprocessable Entity","errors":{"form":{"c":["Missing data for required field."],"features":["Missing data for required field."]}}}`},
		{"JSON without an input", "", `{"c":1}`, "application/json", 422, `{"code":422,"status":"Unprocessable Entity","errors":{"json":{"features":["Missing data for required field."]}}}`},
		{"a wrong input", "", "c=x&features=y", formType, 422, `{"code":422,"status":"Unprocessable Entity","errors":{"form":{"c":["Not a valid number."],"features":["Not a valid URL."]}}}`},
		{"a wrong callback", "?callback=none", "c=1&features=data:,x", formType, 422, `{"code":422,"status":"Unprocessable Entity","errors":{"query":{"callback":["Not a valid URL."]}}}`},
		{"10,000 fields", "", many, formType, 413, "the form has 10000 fields, at most 1000 are allowed"},
		{"a long body", "", strings.Repeat("x", 1<<20+1), formType, 413, "the body has more than 1048576 bytes"},
		{"another charset", "", "c=1", formType + "; charset=iso-8859-1", 415, `the charset must be utf-8, not \"iso-8859-1\"`},
		{"not UTF-8", "", "c=%ff&features=data:,x", formType, 422, `"c":["Not valid UTF-8."]`},
		{"another type", "", "c=1", "text/plain", 415, "the body must be of the type"},
		{"several parts", "", "c=1", "multipart/form-data; boundary=x", 415, "the body must be of the type"},
		{"no type", "", "c=1", ";", 415, "the body must be of the type"},
		{"no form", "", "a=%zz", formType, 400, "not a form"},
		{"no JSON", "", "{", "application/json", 422, "a JSON object is needed"},
	} {
		got := r.do(t, "POST", process+test.query, test.body, contentType, test.contentType)
		if got.status != test.status || !strings.Contains(got.body, test.want) {
			t.Errorf("%s: %d %s; want %d %s", test.name, got.status, got.body, test.status, test.want)
		}
	}
	if calls := r.tasks.takeCalls(); calls != nil {
		t.Errorf("something was started: %v", calls)
	}
	for err, want := range map[error]int{shell.ErrUnavailable: 503, errNone: 404, errRefused: 422} {
		r.tasks.err = err
		got := r.do(t, "POST", process, "c=1&features=data:,x", contentType, formType)
		if got.status != want || !strings.Contains(got.body, err.Error()) || (want == 503) != (got.header.Get("Retry-After") != "") {
			t.Errorf("%v: %d %s %v; want %d", err, got.status, got.body, got.header, want)
		}
	}
}

func TestStartForm(t *testing.T) {
	r := newRig(t, []Instance{optimizer()})
	page := r.do(t, "GET", "/qhana/plugins/optimizer@1-2-0/ui/?callback=http%3A%2F%2Fc.example%2F%3Fa%3Db%26c", "")
	for _, want := range []string{
		`<form method="post" action="` + r.server.URL + process + `?callback=http%3A%2F%2Fc.example%2F%3Fa%3Db%26c"`,
		`name="c" type="number" value="0.5" step="any" required`, `name="features" type="url" value="" required`, "Finds the best &lt;x&gt;",
	} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %s\n%s", want, page.body)
		}
	}
	if page.header.Get("X-Frame-Options") != "" || page.header.Get(contentType) != "text/html; charset=utf-8" || !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%v", page.header)
	}

	// A browser that sends wrong values gets the form again, with them and what is wrong.
	again := r.do(t, "POST", process+"?callback=http://c.example/", "c=%3Cb%3E&features=", contentType, formType, "Accept", "text/html,application/xhtml+xml")
	for _, want := range []string{
		`action="` + r.server.URL + process + `?callback=http%3A%2F%2Fc.example%2F"`,
		`value="&lt;b&gt;"`, "Not a valid number.", "Missing data for required field.",
	} {
		if again.status != 422 || !strings.Contains(again.body, want) {
			t.Errorf("%d: the page lacks %s\n%s", again.status, want, again.body)
		}
	}
}

// A plugin with a page of its own answers for it, and for the files beside it. It is told where the
// page's form is to be sent.
func TestOwnPage(t *testing.T) {
	own := optimizer()
	own.Profile.Entry.UI = "pages/start.html"
	absolute := optimizer()
	absolute.Callsign, absolute.Profile.Name, absolute.Profile.Entry = "Absolute", "absolute", &shell.EntryPoint{UI: "https://ui.example/start"}
	r := newRig(t, []Instance{own, absolute, {Callsign: "Silent", IsKnown: true, Class: "silent", Version: "1.0.0"}})
	web := http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s", request.Method, request.Header.Get("Form-Action"))
	})
	r.instances.web = map[string]http.Handler{"Optimizer": web, "Silent": web}
	for path, want := range map[string][2]string{
		"/qhana/plugins/optimizer@1-2-0/ui/?callback=http://c.example/": {"pages/start.html", "GET " + r.server.URL + process + "?callback=http%3A%2F%2Fc.example%2F"},
		"/qhana/plugins/optimizer@1-2-0/ui/style/x.css":                 {"pages/style/x.css", "GET " + r.server.URL + process},
		"/qhana/plugins/optimizer@1-2-0/ui/../../x":                     {},
		"/qhana/plugins/optimizer@1-2-0/ui/%2e%2e/x":                    {},
		"/qhana/web/Optimizer/../x":                                     {},
		"/qhana/web/Silent/x":                                           {}, // QHAna does not see it
		"/qhana/web/Optimizer/of/weights":                               {"of/weights", "GET "},
	} {
		got := r.do(t, "GET", path, "", "Form-Action", "http://evil.example")
		if want[0] == "" {
			if got.status != 404 {
				t.Errorf("%s: %d, and leads to %s", path, got.status, got.header.Get("Path"))
			}
			continue
		}
		if got.header.Get("Path") != want[0] || got.body != want[1] {
			t.Errorf("%s: %d %q %q; want %q", path, got.status, got.header.Get("Path"), got.body, want)
		}
	}
	if got := r.do(t, "GET", "/qhana/plugins/optimizer@1-2-0/ui", ""); got.status != 308 {
		t.Errorf("without a slash: %d", got.status)
	}
	if got := r.do(t, "POST", "/qhana/web/Optimizer/of/evaluate", "{}"); got.status != 200 || got.header.Get("Path") != "of/evaluate" {
		t.Errorf("a POST to the plugin: %d %s", got.status, got.body)
	}
	if got := r.do(t, "PUT", "/qhana/web/Optimizer/of/evaluate", "{}"); got.status != 405 {
		t.Errorf("a PUT that the plugin does not take: %d %s", got.status, got.body)
	}
	if got := r.do(t, "GET", "/qhana/plugins/absolute@1-2-0/ui/?callback=http://c.example/", ""); got.status != 307 || got.header.Get("Location") != "https://ui.example/start?callback=http://c.example/" {
		t.Errorf("a page elsewhere: %d %s", got.status, got.header.Get("Location"))
	}
}
