package subscriptions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse/internal/leaktest"
	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// rig is the subscriptions of a store, with a subscriber.
type rig struct {
	*testing.T
	*Subscriptions
	url string
	got chan request

	mu     sync.Mutex
	answer func(request) int // its status; nil for 204
}

// request is a webhook that the subscriber has got.
type request struct {
	path, source, event string
	id, body            string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, got: make(chan request, 1000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		one := request{q.URL.Path, q.URL.Query().Get("source"), q.URL.Query().Get("event"), q.Header.Get("Webhook-Id"), string(body)}
		if q.Method != http.MethodPost || q.URL.Query().Get("own") != "kept & more" {
			t.Errorf("got %s %s", q.Method, q.URL)
		}
		r.mu.Lock()
		answer := r.answer
		r.mu.Unlock()
		status := http.StatusNoContent
		if answer != nil {
			status = answer(one)
		}
		w.WriteHeader(status)
		r.got <- one
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	s, err := store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Open(s, outbox.Options{Targets: targets.New(targets.Options{Allow: []targets.Rule{rule}})})
	if err != nil {
		t.Fatal(err)
	}
	r.Subscriptions, err = Open(Options{Store: s, Outbox: box, Address: func(task string) string { return "http://host/tasks/" + task + "/" }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { box.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		_ = s.Close()
	})
	return r
}

// hook returns a URL of the subscriber, with a query of its own.
func (r *rig) hook(path string) string { return r.url + path + "?own=kept+%26+more#part" }

// update makes a transaction.
func (r *rig) update(work func(tx *store.Tx) error) {
	r.Helper()
	if err := r.Store.Update(r.Context(), work); err != nil {
		r.Fatal(err)
	}
	r.Delivered()
}

// subscribe adds a subscription to the task "t".
func (r *rig) subscribe(s tasks.Subscription) {
	r.Helper()
	if err := r.Check(s); err != nil {
		r.Fatal(err)
	}
	r.update(func(tx *store.Tx) error { return r.Subscribe(tx, "t", s) })
}

// change has the subscribers told of a change of the task "t".
func (r *rig) change(revision uint64, status taskspb.Status, events tasks.Events) {
	r.Helper()
	r.update(func(tx *store.Tx) error {
		return r.Deliver(tx, tasks.Change{Task: "t", Callsign: "C", Status: status, Revision: revision, Events: events})
	})
}

// take returns the next webhooks, as "PATH EVENT".
func (r *rig) take(n int) (all []string) {
	r.Helper()
	for range n {
		select {
		case one := <-r.got:
			all = append(all, one.path+" "+one.event)
		case <-time.After(10 * time.Second):
			r.Fatalf("only %q came", all)
		}
	}
	return all
}

// expectNothing waits until nothing is to be told, and fails if a webhook came.
func (r *rig) expectNothing() {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	for waiting := int64(1); waiting > 0; {
		s, err := r.Outbox.Stats(ctx)
		if err != nil {
			r.Fatal(err)
		}
		waiting = s.Waiting
	}
	if len(r.got) != 0 {
		r.Errorf("%d came", len(r.got))
	}
}

const (
	pending = taskspb.Status_STATUS_PENDING
	success = taskspb.Status_STATUS_SUCCESS
	all     = tasks.StatusEvent | tasks.DetailsEvent | tasks.StepsEvent
)

// A subscriber to all events is told of each with the source by which it knows the task, in order,
// and not of the task's birth.
func TestAllEvents(t *testing.T) {
	r := newRig(t)
	r.subscribe(tasks.Subscription{URL: r.hook("/a"), Source: "http://127.0.0.1/qhana/tasks/t/?x=1&y"})
	r.change(1, pending, tasks.StatusEvent|tasks.DetailsEvent)
	r.change(2, pending, tasks.StatusEvent) // it has not ended
	r.expectNothing()
	r.change(3, pending, tasks.StepsEvent)
	one := <-r.got
	if one != (request{"/a", "http://127.0.0.1/qhana/tasks/t/?x=1&y", "steps", "", ""}) {
		t.Errorf("got %+v", one)
	}
	r.change(4, success, all)
	got := r.take(3)
	if got[0] != "/a status" || len(got) != 3 {
		t.Errorf("got %q", got)
	}
}

// Each event can be subscribed to alone. The same subscription again is one, with its first source.
func TestSingleEvents(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"status", "steps", "details", "status"} {
		event, ok := tasks.EventsNamed(name)
		if !ok {
			t.Fatal(name)
		}
		r.subscribe(tasks.Subscription{URL: r.hook("/" + name), Event: event})
	}
	r.change(2, success, all)
	seen := make(map[string]bool)
	for range 3 {
		one := <-r.got
		seen[one.path+" "+one.event] = true
		if one.source != "http://host/tasks/t/" {
			t.Errorf("the source is %q", one.source)
		}
	}
	if !seen["/status status"] || !seen["/steps steps"] || !seen["/details details"] {
		t.Errorf("got %v", seen)
	}
	r.update(func(tx *store.Tx) error {
		found, err := r.Of(tx, "t")
		if len(found) != 3 || found[0].Event != tasks.StatusEvent || found[0].Secret != "" {
			t.Errorf("got %+v", found)
		}
		return err
	})
}

// Unsubscribing without an event ends all of a webhook; with "" the subscription to all alone.
func TestUnsubscribe(t *testing.T) {
	r := newRig(t)
	r.subscribe(tasks.Subscription{URL: r.hook("/a")})
	r.subscribe(tasks.Subscription{URL: r.hook("/a"), Event: tasks.StatusEvent})
	r.subscribe(tasks.Subscription{URL: r.hook("/b")})
	r.update(func(tx *store.Tx) error { return r.Unsubscribe(tx, "t", r.hook("/a"), 0, false) })
	r.update(func(tx *store.Tx) error { return r.Unsubscribe(tx, "t", r.hook("/none"), 0, true) })
	r.change(2, success, tasks.StatusEvent)
	if got := r.take(2); got[0] == got[1] {
		t.Errorf("got %q", got)
	}
	r.update(func(tx *store.Tx) error { return r.Unsubscribe(tx, "t", r.hook("/a"), 0, true) })
	r.update(func(tx *store.Tx) error { return r.Forget(tx, "t") })
	r.change(3, success, all)
	r.expectNothing()
}

// 404 to one event is final for that, and blocks nothing; 410 ends the subscription.
func TestAnswersOfSubscribers(t *testing.T) {
	r := newRig(t)
	r.subscribe(tasks.Subscription{URL: r.hook("/picky")})
	r.subscribe(tasks.Subscription{URL: r.hook("/gone")})
	r.mu.Lock()
	r.answer = func(q request) int {
		switch {
		case q.path == "/gone":
			return http.StatusGone
		case q.event == "details":
			return http.StatusNotFound
		}
		return http.StatusOK
	}
	r.mu.Unlock()
	r.change(2, pending, tasks.DetailsEvent)
	r.take(2)
	for n := 1; n != 0; {
		r.update(func(tx *store.Tx) error {
			found, err := r.Of(tx, "t")
			n = len(found) - 1
			return err
		})
	}
	r.change(3, pending, tasks.StepsEvent)
	r.change(4, success, tasks.StatusEvent)
	if got := fmt.Sprint(r.take(2)); got != "[/picky steps /picky status]" {
		t.Errorf("got %s", got)
	}
	r.expectNothing()
}

// With a secret a webhook has a body that says what has happened.
func TestSignedBody(t *testing.T) {
	r := newRig(t)
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))
	r.subscribe(tasks.Subscription{URL: r.hook("/a"), Secret: secret})
	r.subscribe(tasks.Subscription{URL: r.hook("/a")}) // again, and it keeps its secret
	r.change(7, success, tasks.StatusEvent)
	one := <-r.got
	var b body
	if err := json.Unmarshal([]byte(one.body), &b); err != nil {
		t.Fatal(err)
	}
	want := bodyData{Task: "t", Callsign: "C", Source: "http://host/tasks/t/", Event: "status", Status: "SUCCESS", Revision: 7}
	if b.Type != "task.status" || b.Data != want || time.Since(b.Timestamp) > time.Minute || !strings.HasPrefix(one.id, "msg_") {
		t.Errorf("got %+v, %+v", b, one)
	}
}

// What can't be a subscription is refused when that can be known.
func TestCheck(t *testing.T) {
	r := newRig(t)
	for _, s := range []tasks.Subscription{
		{}, {URL: "mailto:x@example.com"}, {URL: "http://10.0.0.1/"}, {URL: "http://169.254.169.254/latest"}, {URL: r.url, Secret: "secret"},
	} {
		if err := r.Check(s); !errors.Is(err, tasks.ErrInvalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if err := r.Check(tasks.Subscription{URL: "http://10.0.0.1/"}); !errors.Is(err, targets.ErrRefused) || !strings.Contains(err.Error(), "[webhooks]") {
		t.Errorf("got %v", err)
	}
	r.update(func(tx *store.Tx) error {
		for n := range maxPerTask {
			if err := r.Subscribe(tx, "t", tasks.Subscription{URL: fmt.Sprint(r.url, "/", n)}); err != nil {
				return err
			}
		}
		return nil
	})
	err := r.Store.Update(t.Context(), func(tx *store.Tx) error { return r.Subscribe(tx, "t", tasks.Subscription{URL: r.url}) })
	if !errors.Is(err, tasks.ErrFull) {
		t.Errorf("got %v", err)
	}
}
