package qhana

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dormouse/plugins/tasks/taskspb"
)

// conversation is a file of testdata/wire: what QHAna's programs and a host say to each other, as
// it was seen with the real programs.
type conversation struct {
	About     string     `json:"about"`
	Exchanges []exchange `json:"exchanges"`
}

// exchange is one request and its answer. Empty members are not compared. An object in JSON may
// have more members than are named, unless it has "$exact".
type exchange struct {
	What        string `json:"what"`
	Request     string `json:"request"` // method and path
	ContentType string `json:"contentType"`
	Body        string `json:"body"`
	Status      int    `json:"status"`
	Location    string `json:"location"`
	Type        string `json:"type"` // Content-Type of the answer
	DataType    string `json:"dataType"`
	Text        string `json:"text"` // a part of the answer
	JSON        any    `json:"json"`
	Asked       string `json:"asked"` // of the tasks
}

// readConversation returns a file of testdata/wire, with the values in the place of {name}.
func readConversation(t *testing.T, name string, values ...string) conversation {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "wire", name))
	if err != nil {
		t.Fatal(err)
	}
	var c conversation
	if err := json.Unmarshal([]byte(strings.NewReplacer(values...).Replace(string(text))), &c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return c
}

// difference returns where got is not as wanted, empty if it is.
func difference(at string, want, got any) string {
	switch want := want.(type) {
	case map[string]any:
		members, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, no object", at, got)
		}
		for name, value := range want {
			if there := members[name]; name != "$exact" {
				if why := difference(at+"/"+name, value, there); why != "" {
					return why
				}
			}
		}
		for name := range members {
			if _, wanted := want[name]; want["$exact"] == true && !wanted {
				return fmt.Sprintf("%s has the member %s besides", at, name)
			}
		}
		return ""
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			return fmt.Sprintf("%s is %v, no list of %d", at, got, len(want))
		}
		for i, value := range want {
			if why := difference(fmt.Sprintf("%s/%d", at, i), value, list[i]); why != "" {
				return why
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s is %v, not %v", at, got, want)
	}
	return ""
}

// Each request that QHAna's programs send is answered as they need it.
func TestWireToUs(t *testing.T) {
	for _, name := range []string{"discovery.json", "start.json", "task.json"} {
		t.Run(name, func(t *testing.T) {
			done := bigTask()
			done.Id, done.Status = "done", taskspb.Status_STATUS_SUCCESS
			done.Outputs[0].Key = "k9"
			r := newTaskRig(t, bigTask())
			r.instances.set(problem1(), optimizer())
			if name == "task.json" {
				r.tasks.tasks = append(r.tasks.tasks, done)
				r.tasks.files["k9"] = "[]"
			}
			for _, e := range readConversation(t, name, "{base}", r.server.URL).Exchanges {
				method, path, _ := strings.Cut(e.Request, " ")
				var headers []string
				if e.ContentType != "" {
					headers = []string{contentType, e.ContentType}
				}
				got := r.do(t, method, path, e.Body, headers...)
				asked := strings.Join(r.tasks.takeCalls(), "\n")
				switch {
				case got.status != e.Status:
					t.Errorf("%s: %d %s", e.What, got.status, got.body)
				case got.header.Get("Location") != e.Location:
					t.Errorf("%s: to %s, not %s", e.What, got.header.Get("Location"), e.Location)
				case e.Type != "" && got.header.Get(contentType) != e.Type:
					t.Errorf("%s: of the type %s", e.What, got.header.Get(contentType))
				case got.header.Get("X-Data-Type") != e.DataType:
					t.Errorf("%s: of the data type %s", e.What, got.header.Get("X-Data-Type"))
				case !strings.Contains(got.body, e.Text):
					t.Errorf("%s: it lacks %s\n%s", e.What, e.Text, got.body)
				case asked != e.Asked:
					t.Errorf("%s: the tasks were asked %q, not %q", e.What, asked, e.Asked)
				case e.JSON != nil:
					if why := difference("", e.JSON, any(got.decode(t))); why != "" {
						t.Errorf("%s: %s", e.What, why)
					}
				}
			}
		})
	}
}

// We ask a registry just what the real one was asked, in that order.
func TestWireToRegistry(t *testing.T) {
	var c conversation
	var asked []string
	done := make(chan struct{})
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		asked = append(asked, request.Method+" "+request.URL.RequestURI()+string(body))
		i := slices.IndexFunc(c.Exchanges, func(e exchange) bool { return e.Request == request.Method+" "+request.URL.RequestURI() })
		if i < 0 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(c.Exchanges[i].Status)
		if c.Exchanges[i].JSON != nil {
			_ = json.NewEncoder(w).Encode(c.Exchanges[i].JSON)
		}
		if i == len(c.Exchanges)-1 {
			close(done)
		}
	}))
	t.Cleanup(registry.Close)
	r := newRig(t, []Instance{optimizer()}, registry.URL+"/api") // without a slash it would redirect
	plugin := r.server.URL + "/qhana/plugins/optimizer@1-2-0/"
	c = readConversation(t, "registry.json", "{registry}", registry.URL, "{plugin}", url.QueryEscape(plugin))
	r.run(t)
	select {
	case <-done:
	case <-within(t).Done():
		t.Fatalf("the registry was asked %q", asked)
	}
	for i, e := range c.Exchanges {
		if asked[i] != e.Request {
			t.Errorf("%s: %s; want %s", e.What, asked[i], e.Request)
		}
	}
}
