package flows

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// boundLines binds the topic "lines".
func boundLines(topic string) (string, bool) { return RemoteQueue(topic), topic == "lines" }

// What a flow gives for a bound topic goes to the queue that leads away; what comes back goes to
// the flows that take the topic, once for each id.
func TestBoundTopic(t *testing.T) {
	ran, ended := make(chan struct{}), make(chan struct{})
	r := newRig(t, setup{remote: boundLines, runRemotes: func(ctx context.Context) {
		close(ran)
		<-ctx.Done()
		close(ended)
	}})
	<-ran
	r.answer(linesAndShouts)
	r.declare(declaredFlows(), nil)
	r.must(r.publish("texts", "a\nb"))
	r.expectAsked("texts a\nb")
	var back []*shellpb.Message
	for _, want := range []string{"a", "b"} {
		taken, err := r.Queues.Take(t.Context(), "remote/lines")
		r.must(err)
		if string(taken.Body) != want {
			t.Errorf("%q leaves instead of %q", taken.Body, want)
		}
		m, err := fromQueue(taken.Message)
		r.must(err)
		back = append(back, m)
		r.must(taken.Finish(t.Context()))
	}
	r.expectNothingAsked()
	for range 2 { // as after an acknowledgement that was lost
		for _, m := range back {
			_, err := r.PublishToTopic(t.Context(), "lines", m)
			r.must(err)
		}
	}
	r.until("loud", isEmpty)
	r.until("file", isEmpty)
	var asked []string // two flows go on side by side
	for len(r.asked) > 0 {
		asked = append(asked, <-r.asked)
	}
	slices.Sort(asked)
	if want := []string{"file A", "file B", "loud a", "loud b"}; !slices.Equal(asked, want) {
		t.Errorf("plugins got %q, want %q", asked, want)
	}
	r.close()
	<-ended
}

// A flow that takes the topic and rejects has messages stay in the stream, until it changes.
func TestTakesTopic(t *testing.T) {
	r := newRig(t, setup{remote: boundLines})
	takes := func() bool {
		takes, _ := r.TakesTopic("lines")
		return takes
	}
	if takes() {
		t.Error("a topic is taken without flows")
	}
	_, changed := r.TakesTopic("lines")
	r.declare(declaredFlows(), nil)
	<-changed
	if !takes() {
		t.Error("the topic of a running flow is not taken")
	}
	for _, c := range []struct {
		state configs.FlowState
		want  bool
	}{{configs.FlowStopped, false}, {configs.FlowPaused, true}, {configs.FlowStopped, false}, {configs.FlowRunning, true}} {
		_, changed := r.TakesTopic("lines")
		_, err := r.SetState("loud", c.state)
		r.must(err)
		<-changed
		if takes() != c.want {
			t.Errorf("with a flow that is %s the topic is taken: %v", c.state, !c.want)
		}
	}
	if _, err := r.PublishToTopic(t.Context(), "none", &shellpb.Message{}); !errors.Is(err, ErrUnrouted) {
		t.Errorf("got %v", err)
	}
}

// Status lists bound topics, and their dead letters are found by the name of their queue.
func TestBoundTopicIsShown(t *testing.T) {
	r := newRig(t, setup{remote: boundLines, remoteTopics: func(context.Context) ([]RemoteTopic, error) {
		return []RemoteTopic{{Topic: "lines", Queue: RemoteQueue("lines"), Why: "the server is down"}}, nil
	}})
	_, err := r.Queues.Publish(t.Context(), queue.Message{ID: "one"}, RemoteQueue("lines"))
	r.must(err)
	taken, err := r.Queues.Take(t.Context(), RemoteQueue("lines"))
	r.must(err)
	r.must(taken.Bury(t.Context(), "too long"))
	b := &backend{Flows: r.Flows}
	call := func(method, params string, to any) {
		t.Helper()
		raw, err := b.Invoke(t.Context(), shell.Call{Method: method, Params: json.RawMessage(params)})
		if err == nil {
			err = json.Unmarshal(raw, to)
		}
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
	}
	var st totals
	call("status", "", &st)
	if len(st.Remotes) != 1 || st.Remotes[0].Why != "the server is down" {
		t.Errorf("the bound topics are %+v", st.Remotes)
	}
	var all []record
	call("list", "", &all)
	if len(all) != 1 || all[0].Name != "remote/lines" || all[0].Kind != KindRemote || all[0].Effect != "queued" || all[0].Why != "the server is down" {
		t.Errorf("the list has %+v", all)
	}
	var one record
	call("show", `{"flow": "remote/lines"}`, &one)
	if one.Remote == nil || one.Remote.Topic != "lines" || one.Why != "the server is down" {
		t.Errorf("the topic is shown as %+v", one)
	}
	if _, err := b.Invoke(t.Context(), shell.Call{Method: "show", Params: json.RawMessage(`{"flow": "remote/none"}`)}); err == nil {
		t.Error("a topic that is not bound is shown")
	}
	var letters []deadRecord
	call("dead", `{"flow": "remote/lines"}`, &letters)
	if len(letters) != 1 || letters[0].Why != "too long" {
		t.Errorf("the dead letters are %+v", letters)
	}
	var n count
	call("discarddead", `{"flow": "remote/lines", "all": true}`, &n)
	if n.Count != 1 {
		t.Errorf("%d were discarded", n.Count)
	}
	if _, err := b.Invoke(t.Context(), shell.Call{Method: "dead", Params: json.RawMessage(`{"flow": "remote/none"}`)}); err == nil {
		t.Error("a topic that is not bound has dead letters")
	}
}

// The figures of bound topics are among the metrics.
func TestMetricsOfBoundTopics(t *testing.T) {
	r := newRig(t, setup{remote: boundLines, remoteTopics: func(context.Context) ([]RemoteTopic, error) {
		return []RemoteTopic{{Topic: "lines", Messages: 3, Bytes: 40, Dead: 1}}, nil
	}})
	got := figures{values: make(map[string]int64)}
	r.WriteMetrics(&got)
	for name, want := range map[string]int64{
		"dormouse_flow_remote_messages topic lines":     3,
		"dormouse_flow_remote_bytes topic lines":        40,
		"dormouse_flow_remote_dead_letters topic lines": 1,
	} {
		if value, there := got.values[name]; !there || value != want {
			t.Errorf("%s is %d, %t", name, value, there)
		}
	}
}
