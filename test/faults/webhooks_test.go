package faults

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// told is a signed webhook that a subscriber has got.
type told struct {
	id            string
	Event, Status string
	Task          string
	Revision      uint64
}

// subscriber notes what it is told, by task. Now and then it is out of order.
type subscriber struct {
	url string

	mu      sync.Mutex
	got     map[string][]told
	refuses bool
}

func newSubscriber(t *testing.T) *subscriber {
	t.Helper()
	u := &subscriber{got: make(map[string][]told)}
	server := httptest.NewServer(u)
	t.Cleanup(server.Close)
	u.url = server.URL
	return u
}

// ServeHTTP notes a webhook.
func (u *subscriber) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Data told }
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(raw, &body)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if err != nil || u.refuses && rand.IntN(20) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	body.Data.id = r.Header.Get("Webhook-Id")
	u.got[body.Data.Task] = append(u.got[body.Data.Task], body.Data)
}

// taskState is a task as the host has it.
type taskState struct {
	ID       string
	Status   string
	Revision uint64
	Steps    []struct{ ID string }
}

// verify fails the test unless the subscriber was told of the end of the task, once, and of its
// steps, in order, and of nothing that has not happened. Only the last that it was told may have
// come again, or the last details, which let others go first.
func (u *subscriber) verify(t *testing.T, task string, state taskState) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	ends, steps, last := make(map[string]bool), false, told{}
	seen, before, details := make(map[string]bool), "", ""
	for _, one := range u.got[task] {
		if seen[one.id] && one.id != before && one.id != details {
			t.Errorf("%+v comes again: %+v", one, u.got[task])
		}
		seen[one.id], before = true, one.id
		if one.Event == "details" {
			details = one.id
		}
		if one.Revision > state.Revision || one.Revision < last.Revision && one.Event != "details" {
			t.Errorf("%+v comes after %+v; the task has revision %d", one, last, state.Revision)
		}
		if one.Event == "status" {
			ends[one.id] = true
			if one.Status != state.Status {
				t.Errorf("the task is %s, told was %+v", state.Status, one)
			}
		}
		steps = steps || one.Event == "steps"
		if one.Event != "details" || one.Revision > last.Revision {
			last = one
		}
	}
	if len(ends) != 1 || state.Status == "PENDING" {
		t.Errorf("the task is %+v, and its end was told %d times: %+v", state, len(ends), u.got[task])
	}
	if len(state.Steps) > 0 && !steps {
		t.Errorf("no step was told of: %+v", u.got[task])
	}
}

// tellerSite is a site with the plugin "teller", whose webhooks may go to this machine.
func tellerSite(t *testing.T) *site {
	t.Helper()
	return newSite(t, "[webhooks]\nallow = [\"127.0.0.1\"]", plugin("Teller", programs+"/teller"))
}

// begin makes a task with a subscription, and returns its id.
func (h *host) begin(url string) (task string, err error) {
	var made struct{ Task string }
	if err := h.ask("Teller.begin", struct{}{}, &made); err != nil {
		return "", err
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 32)))
	return made.Task, h.ask("Tasks.subscribe", map[string]string{"task": made.Task, "url": url, "secret": secret}, nil)
}

// taskStates returns the tasks of the host that have a subscription.
func (h *host) taskStates() (all []taskState) {
	h.t.Helper()
	var page struct {
		Tasks []struct{ ID string }
	}
	h.must("Tasks.list", map[string]any{"limit": 1000}, &page)
	for _, one := range page.Tasks {
		var subscriptions []struct{ URL string }
		h.must("Tasks.subscriptions", map[string]string{"task": one.ID}, &subscriptions)
		if len(subscriptions) > 0 {
			var state taskState
			h.must("Tasks.get", map[string]string{"task": one.ID}, &state)
			all = append(all, state)
		}
	}
	return all
}

// allTold returns when the host has told all that it has to tell.
func (h *host) allTold() {
	h.t.Helper()
	until(h.t, "everything to be told", func() bool {
		var figures struct{ Waiting int }
		h.must("Webhooks.status", nil, &figures)
		return figures.Waiting == 0
	})
}

// A host that is killed between a change and its webhook, or between that and the note of it, is
// followed by one that tells it.
func TestKilledWhileTelling(t *testing.T) {
	for _, p := range []struct {
		name  string
		quick bool
	}{{"outbox.put", true}, {"outbox.answered", true}, {"outbox.settled", false}} {
		if !p.quick && !thorough {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			runBeside(t)
			u, s := newSubscriber(t), tellerSite(t)
			first := s.start(p.name)
			first.ready()
			task, err := first.begin(u.url)
			must(t, err)
			for _, method := range []string{"Teller.step", "Teller.log", "Teller.step", "Teller.end"} {
				if first.dead() || first.ask(method, map[string]string{"task": task}, nil) != nil {
					break
				}
			}
			first.killed()

			second := s.start("")
			second.ready()
			second.allTold()
			all := second.taskStates()
			if len(all) != 1 {
				t.Fatalf("there is %+v", all)
			}
			u.verify(t, task, all[0])
			second.end()
		})
	}
}

// However often the host is killed while tasks come, change and end, each subscriber is told of
// each end once, in order, and of nothing else.
func TestTellingSurvivesKills(t *testing.T) {
	runBeside(t)
	u, s := newSubscriber(t), tellerSite(t)
	u.refuses = true
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 2
	if thorough {
		kills = 15
	}
	var changes atomic.Int64
	for range kills {
		h := s.start("")
		h.ready()
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { takeThroughLives(ctx, h, u.url, &changes) })
		}
		aim := changes.Load() + 20 + random.Int64N(60)
		until(t, "enough changes", func() bool { return changes.Load() >= aim })
		must(t, h.cmd.Process.Kill())
		h.killed()
		stop()
		all.Wait()
	}
	u.mu.Lock()
	u.refuses = false
	u.mu.Unlock()
	h := s.start("")
	h.ready()
	h.allTold()
	states := h.taskStates()
	for _, state := range states {
		u.verify(t, state.ID, state)
	}
	t.Logf("%d changes of %d tasks", changes.Load(), len(states))
	if len(states) < kills {
		t.Error("there were hardly any tasks")
	}
	h.end()
}

// takeThroughLives takes one task after the other through its life, until the host or ctx ends.
func takeThroughLives(ctx context.Context, h *host, url string, changes *atomic.Int64) {
	for n := 0; ctx.Err() == nil; n++ {
		task, err := h.begin(fmt.Sprint(url, "/", n))
		for _, method := range []string{"Teller.log", "Teller.step", "Teller.step", "Teller.log", "Teller.end"} {
			if err == nil {
				err = h.ask(method, map[string]string{"task": task}, nil)
			}
			if err != nil {
				break
			}
			changes.Add(1)
		}
		if err != nil {
			select {
			case <-h.ended:
				return
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}
