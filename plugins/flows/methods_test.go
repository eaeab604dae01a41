package flows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// call calls a method of Flows, and returns the result or "number: text".
func (r *rig) call(method, params string) string {
	r.Helper()
	result, err := r.shell(Callsign).Invoke(r.Context(), shell.Call{Method: method, Params: json.RawMessage(params)})
	if refused, ok := errors.AsType[*shell.PluginError](err); ok {
		return fmt.Sprintf("%d: %s", refused.Code, refused.Message)
	}
	if err != nil {
		return err.Error()
	}
	return string(result)
}

func TestMethods(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.State = configs.FlowPaused })
	for _, test := range []struct{ method, params, want string }{
		{"publish", `{"flow":"texts","id":"7","body":"m","contenttype":"text/plain","metadata":{"k":"v"}}`, `{"id":"7","seen":false}`},
		{"publish", `{"flow":"texts","id":"7","base64":"bQ=="}`, `{"id":"7","seen":true}`},
		{"publish", `{"flow":"texts","body":"m","base64":"bQ=="}`, `30: wrong parameters: give body or base64, not both`},
		{"publish", `{"flow":"none","body":"m"}`, `22: there is no such flow: "none"`},
		{"publish", `{"flow":"texts","bdy":"m"}`, `30: wrong parameters: "bdy" is not known here`},
		{"publish", `{"flow":7}`, `30: wrong parameters: "flow" must be a string, not a number`},
		{"discarddead", `{"flow":"texts","keys":"all"}`, `30: wrong parameters: "keys" must be an array, not a string`},
		{"list", `[]`, `30: wrong parameters: the whole must be an object, not an array`},
		{"show", `{}`, `30: wrong parameters: flow is missing`},
		{"run", `{}`, `30: wrong parameters: flow is missing`},
		{"publish", `{"flow":"loud","body":"m"}`, `30: the message is not valid: loud is a transform`},
		{"show", `{"flow":"none"}`, `22: there is no such flow`},
		{"show", `{"flow":"texts"}`, `"state":"paused","effect":"queued","why":"it is paused: dormouse flow run texts","ready":true,"messages":1`},
		{"list", ``, `[{"name":"file","kind":"sink","package":"p","instance":"A","state":"paused"`},
		{"status", ``, `{"flows":{"paused":3},"waiting":["texts"],"messages":1,"dead":0,"held":1,"bytes":`},
		{"stop", `{"flow":"texts"}`, `"state":"stopped","effect":"rejected","why":"it is stopped: dormouse flow run texts"`},
		{"publish", `{"flow":"texts","body":"m"}`, `5: the flow takes no messages: it is stopped: dormouse flow run texts`},
		{"pause", `{"flow":"later"}`, `{"name":"later","state":"paused","effect":"unknown","why":"no package declares it"`},
		{"run", `{"flow":"a b"}`, `30: wrong parameters: "a b" is not the name of a flow`},
		{"dead", `{"flow":"texts"}`, `[]`},
		{"retrydead", `{"flow":"texts"}`, `30: wrong parameters: name dead letters by "keys", or all by "all": true`},
		{"retrydead", `{"flow":"texts","all":true}`, `{"count":0}`},
		{"discarddead", `{"flow":"texts","keys":[99]}`, `43: `},
		{"showdead", `{"flow":"texts","key":99}`, `43: `},
		{"nothing", ``, `unknown method`},
	} {
		if got := r.call(test.method, test.params); !strings.Contains(got, test.want) {
			t.Errorf("%s %s\ngot  %s\nwant %s", test.method, test.params, got, test.want)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	r := newRig(t, setup{})
	broken := true
	r.answer(func(string, *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		if broken {
			return nil, status.Error(codes.InvalidArgument, "never")
		}
		return nil, nil
	})
	r.declare(declaredFlows(), nil)
	for _, body := range []string{"1", "2"} {
		r.must(r.publish("texts", body))
	}
	letters := r.deadLetters("texts", 2)
	r.expectAsked("texts 1", "texts 2")
	first, second := letters[0].Key, letters[1].Key
	for method, want := range map[string]string{
		"dead":     fmt.Sprintf(`[{"key":%d,"id":"%s"`, first, letters[0].ID),
		"showdead": `"why":"the plugin answered: never","size":`,
	} {
		params := fmt.Sprintf(`{"flow":"texts","key":%d}`, first)
		if method == "dead" {
			params = `{"flow":"texts","limit":1}`
		}
		got := r.call(method, params)
		if !strings.Contains(got, want) || strings.Contains(got, `"body":"MQ=="`) != (method == "showdead") {
			t.Errorf("%s got %s", method, got)
		}
	}
	if got := r.call("discarddead", fmt.Sprintf(`{"flow":"texts","keys":[%d]}`, second)); got != `{"count":1}` {
		t.Errorf("discarded: %s", got)
	}
	r.mu.Lock()
	broken = false
	r.mu.Unlock()
	if got := r.call("retrydead", `{"flow":"texts","all":true}`); got != `{"count":1}` {
		t.Errorf("retried: %s", got)
	}
	r.expectAsked("texts 1")
	r.until("texts", func(s record) bool { return s.Messages == 0 && s.Dead == 0 })
	for range 2 {
		if got := <-r.events; !strings.HasPrefix(got, `deadletter{"flow":"texts","id":"`) || !strings.HasSuffix(got, `"why":"the plugin answered: never"}`) {
			t.Errorf("event %s", got)
		}
	}
}

func TestEventOfState(t *testing.T) {
	r := newRig(t, setup{})
	r.call("run", `{"flow":"f"}`)
	r.call("run", `{"flow":"f"}`)
	r.call("stop", `{"flow":"f"}`)
	for _, want := range []string{`statechange{"before":"","flow":"f","state":"running"}`, `statechange{"before":"running","flow":"f","state":"stopped"}`} {
		if got := <-r.events; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNeededAccess(t *testing.T) {
	for method, want := range map[string]access.Role{
		"publish": access.Call, "list": access.Read, "show": access.Read, "status": access.Read, "dead": access.Read,
		"run": access.Operate, "pause": access.Operate, "stop": access.Operate,
		"showdead": access.Operate, "retrydead": access.Operate, "discarddead": access.Operate,
	} {
		if got, about := NeededAccess(Callsign, shell.Call{Method: method}); got != want || about.Callsign != Callsign || about.Method != method {
			t.Errorf("%s needs %s for %+v, want %s", method, got, about, want)
		}
	}
	if n := len(methods); n != 11 {
		t.Errorf("there are %d methods, %s", n, slices.Sorted(maps.Keys(methods)))
	}
	if got, _ := NeededAccess(Callsign, shell.Call{Method: "nothing"}); got != access.Read {
		t.Errorf("an unknown method needs %s", got)
	}
}

func TestPost(t *testing.T) {
	r := newRig(t, setup{})
	flows := declaredFlows()
	stopped, small := flows[0], flows[0]
	stopped.Name, stopped.State = "stopped", configs.FlowStopped
	small.Name, small.State, small.MaxMessages = "small", configs.FlowPaused, 1
	r.declare(append(flows, stopped, small), nil)
	r.must(r.publish("small", "1"))
	for _, test := range []struct {
		flow, body string
		headers    []string
		status     int
		answer     string
		header     string // name=value of the answer
	}{
		{"texts", "m", []string{"Message-Id", "7", "Metadata", `{"k":"v"}`, "Content-Type", "text/x"}, 202, "7\n", "Message-Id=7"},
		{"texts", "m", []string{"Message-Id", "7"}, 202, "7\n", "Message-Seen=true"},
		{"texts", "m", nil, 202, "-7", "Message-Seen="}, // a UUID of version 7
		{"none", "m", nil, 404, "there is no such flow", ""},
		{"loud", "m", nil, 400, "loud is a transform", ""},
		{"texts", "m", []string{"Metadata", `["k"]`}, 400, "the header Metadata is not a JSON object of strings", ""},
		{"stopped", "m", nil, 409, "it is stopped: dormouse flow run stopped", ""},
		{"texts", strings.Repeat("m", 1<<20+1), nil, 413, "its body has more than 1048576 bytes", ""},
		{"small", "2", nil, 429, "the queue is full", "Retry-After=1"},
	} {
		endpoint, ok := (&backend{Flows: r.Flows}).Endpoint(http.MethodPost, test.flow)
		if !ok || endpoint.Needs != "publish" {
			t.Fatalf("%s is served as %+v, %t", test.flow, endpoint, ok)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/Service/Flows/"+test.flow, strings.NewReader(test.body))
		for i := 0; i < len(test.headers); i += 2 {
			request.Header.Set(test.headers[i], test.headers[i+1])
		}
		answer := httptest.NewRecorder()
		request.Body = http.MaxBytesReader(answer, request.Body, endpoint.MaxBody)
		endpoint.ServeHTTP(answer, request)
		name, value, _ := strings.Cut(test.header, "=")
		if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.answer) || name != "" && answer.Header().Get(name) != value {
			t.Errorf("%s got %d %q %v; want %d %q", test.flow, answer.Code, answer.Body, answer.Header(), test.status, test.answer)
		}
	}
	r.expectAsked("texts m", "texts m")
	for method, path := range map[string]string{http.MethodGet: "texts", http.MethodPost: "a/b"} {
		if _, ok := (&backend{Flows: r.Flows}).Endpoint(method, path); ok {
			t.Errorf("%s %s is served", method, path)
		}
	}
}

// Beyond the total there is no room for any flow.
func TestPostBeyondTheTotal(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Flows) { c.MaxMessages = 1 }})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.State = configs.FlowPaused })
	r.must(r.publish("texts", "1"))
	answer := httptest.NewRecorder()
	r.servePost(answer, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("2")), "texts")
	if data := answers.To(r.publish("texts", "3")).Data(); string(data) != `{"retryAfterMs":10000}` {
		t.Errorf("the data of the error is %s", data)
	}
	if answer.Code != http.StatusInsufficientStorage || answer.Header().Get("Retry-After") != "10" {
		t.Errorf("got %d %s, Retry-After %s", answer.Code, answer.Body, answer.Header().Get("Retry-After"))
	}
}

func TestStatusOfErrors(t *testing.T) {
	r := newRig(t, setup{})
	service := r.Service("")
	_, err := service.Publish(t.Context(), &shellpb.PublishRequest{Flow: "none"})
	if status.Code(err) != codes.NotFound || shellpb.ErrorDetailOf(err).GetCode() != int32(thunder.UnknownKey) {
		t.Errorf("got %v", err)
	}
	r.declare(declaredFlows(), nil)
	got, err := service.Publish(t.Context(), &shellpb.PublishRequest{Flow: "texts", Message: &shellpb.Message{Id: "1"}})
	if err != nil || got.GetId() != "1" {
		t.Errorf("got %v, %v", got, err)
	}
}

// figures are metrics as a test reads them: the values by name and labels.
type figures struct {
	values map[string]int64
	name   string // of the metric that was begun last
}

func (f *figures) BeginMetric(name, _, _ string) { f.name = name }

func (f *figures) WriteSample(value int64, labels ...string) {
	f.values[strings.Join(append([]string{f.name}, labels...), " ")] = value
}

func TestMetrics(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.State = configs.FlowPaused })
	r.must(r.publish("texts", "m"))
	got := figures{values: make(map[string]int64)}
	r.WriteMetrics(&got)
	for name, want := range map[string]int64{
		"dormouse_flow_messages flow texts":        1,
		"dormouse_flow_messages flow file":         0,
		"dormouse_flow_published_total flow texts": 1,
		"dormouse_flow_dead_letters flow texts":    0,
		"dormouse_flow_state flow texts state PAUSED effect queued why it is paused: dormouse flow run texts": 1,
		"dormouse_flows_held_messages": 1,
	} {
		if value, there := got.values[name]; !there || value != want {
			t.Errorf("%s is %d, %t", name, value, there)
		}
	}
}

// streamOf is the server's end of a stream with these requests.
type streamOf struct {
	grpc.ServerStream
	ctx      context.Context
	requests []*shellpb.PublishRequest
	answers  []*shellpb.PublishResponse
	broken   error // of Send
}

func (s *streamOf) Context() context.Context { return s.ctx }

func (s *streamOf) Recv() (r *shellpb.PublishRequest, err error) {
	if len(s.requests) == 0 {
		return nil, io.EOF
	}
	r, s.requests = s.requests[0], s.requests[1:]
	return r, nil
}

func (s *streamOf) Send(r *shellpb.PublishResponse) error {
	s.answers = append(s.answers, r)
	return s.broken
}

// What comes in a stream keeps its order, and a refused message does not end the stream.
func TestPublishStream(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), nil)
	stream := &streamOf{ctx: t.Context()}
	const count = 1000
	for i := range count {
		stream.requests = append(stream.requests, &shellpb.PublishRequest{Flow: "texts", Message: &shellpb.Message{Id: fmt.Sprint(i), Body: fmt.Append(nil, i)}})
	}
	stream.requests = slices.Insert(stream.requests, 1, &shellpb.PublishRequest{Flow: "none"}, stream.requests[0])
	r.must(r.Service("").PublishStream(stream))
	refused, again := stream.answers[1], stream.answers[2]
	if refused.GetCode() != uint32(codes.NotFound) || refused.GetNumber() != int32(thunder.UnknownKey) || !strings.Contains(refused.GetError(), "there is no such flow") {
		t.Errorf("a message for no flow got %v", refused)
	}
	if !again.GetSeen() || again.GetId() != "0" || again.GetError() != "" {
		t.Errorf("a message that was seen got %v", again)
	}
	for i, answer := range slices.Delete(stream.answers, 1, 3) {
		if answer.GetId() != fmt.Sprint(i) || answer.GetSeen() || answer.GetError() != "" {
			t.Fatalf("answer %d is %v", i, answer)
		}
	}
	for i := range count {
		r.expectAsked(fmt.Sprintf("texts %d", i))
	}
}

// A client that is gone ends its stream.
func TestPublishStreamToNobody(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), nil)
	gone := errors.New("gone")
	stream := &streamOf{ctx: t.Context(), requests: []*shellpb.PublishRequest{{Flow: "texts"}}, broken: gone}
	if err := r.Service("").PublishStream(stream); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}
