package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/internal/store"
)

// model is what queues must do, in plain Go.
type model struct {
	now   time.Time
	total Limits
	lines map[string]*modelLine
	seen  map[string]time.Time
}

type modelLine struct {
	rules   Rules
	waiting []*modelMessage // in order, taken ones included
	dead    []*modelMessage
}

type modelMessage struct {
	id, body      string
	failed, kills int
	next          time.Time
	reason        string
	taken         *Taken
}

func (m *modelMessage) counts() counts { return counts{1, int64(len(m.id) + len(m.body))} }

func sum(all []*modelMessage) (c counts) {
	for _, m := range all {
		c = c.plus(m.counts())
	}
	return c
}

func (l *modelLine) room(more counts) error {
	if l.rules.beyond(sum(l.waiting), more) != "" {
		return ErrQueueFull
	}
	return nil
}

func (m *model) room(more counts) error {
	var has counts
	for _, l := range m.lines {
		has = has.plus(sum(l.waiting)).plus(sum(l.dead))
	}
	if m.total.beyond(has, more) != "" {
		return ErrFull
	}
	return nil
}

func (l *modelLine) takenOnes() (taken []*modelMessage) {
	for _, m := range l.waiting {
		if m.taken != nil {
			taken = append(taken, m)
		}
	}
	return taken
}

// mayTake returns the messages of which one may be taken, and whether one must be given out.
func (l *modelLine) mayTake(now time.Time) (may []*modelMessage, must bool) {
	taken := l.takenOnes()
	if len(taken) >= max(l.rules.Parallel, 1) || slices.ContainsFunc(taken, func(m *modelMessage) bool { return m.kills > 0 }) {
		return nil, false
	}
	must = true
	for _, m := range l.waiting {
		if m.taken != nil {
			continue
		}
		if !m.next.After(now) {
			if m.kills > 0 && len(taken) > 0 {
				must = false
			} else {
				may = append(may, m)
			}
		}
		if l.rules.Parallel <= 1 {
			break
		}
	}
	return may, must && len(may) > 0
}

func (l *modelLine) remove(m *modelMessage) {
	l.waiting = slices.DeleteFunc(l.waiting, func(other *modelMessage) bool { return other == m })
}

func (l *modelLine) bury(m *modelMessage, reason string) {
	l.remove(m)
	m.taken, m.reason = nil, reason
	l.dead = append(l.dead, m)
}

// TestModel does the same at random to queues and to a model of them, restarts included.
func TestModel(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) { runModel(t, seed, 300) })
	}
}

func runModel(t *testing.T, seed uint64, steps int) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	path := filepath.Join(t.TempDir(), "store.db")
	m := &model{
		now:   time.UnixMilli(1_700_000_000_000),
		total: Limits{Messages: 60},
		lines: map[string]*modelLine{
			"ordered":  {rules: Rules{Attempts: 4, FirstRetry: time.Second, LastRetry: 3 * time.Second}},
			"parallel": {rules: Rules{Parallel: 3, Attempts: 4, FirstRetry: time.Second, LastRetry: 3 * time.Second}},
			"bounded":  {rules: Rules{Limits: Limits{Messages: 6, Bytes: 300}, Attempts: 2, FirstRetry: time.Second, LastRetry: time.Second}},
		},
		seen: make(map[string]time.Time),
	}
	names := []string{"bounded", "ordered", "parallel"}
	ctx := t.Context()
	var s *store.Store
	var q *Queues
	reopen := func() {
		if s != nil {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s, q = openAt(t, path, Options{Total: m.total})
		q.now = func() time.Time { return m.now }
		for name, l := range m.lines {
			if err := q.SetRules(ctx, name, l.rules); err != nil {
				t.Fatal(err)
			}
			for _, msg := range l.waiting {
				msg.taken = nil
			}
		}
	}
	reopen()
	numbers := 0
	newMessage := func() *modelMessage {
		numbers++
		return &modelMessage{id: fmt.Sprint("id", numbers), body: string(make([]byte, random.IntN(90)))}
	}
	// check compares an outcome with the model's.
	check := func(what string, got, want error) bool {
		if want != nil && !errors.Is(got, want) || want == nil && got != nil {
			t.Fatalf("%s: got %v, want %v", what, got, want)
		}
		return want == nil
	}
	for step := range steps {
		m.now = m.now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
		name := names[random.IntN(len(names))]
		l := m.lines[name]
		var one *modelMessage // a taken one
		if taken := l.takenOnes(); len(taken) > 0 {
			one = taken[random.IntN(len(taken))]
		}
		action := random.IntN(100)
		what := fmt.Sprintf("step %d, action %d on %s", step, action, name)
		switch {
		case action < 30: // publish
			to := []string{name}
			if other := names[random.IntN(len(names))]; other != name {
				to = append(to, other)
			}
			msg := newMessage()
			if random.IntN(6) == 0 {
				msg.id = fmt.Sprint("id", 1+random.IntN(numbers))
			}
			var want error
			for _, target := range to {
				want = errors.Join(want, m.lines[target].room(msg.counts()))
			}
			if want == nil {
				want = m.room(counts{int64(len(to)), int64(len(to)) * msg.counts().bytes})
			}
			if errors.Is(want, ErrQueueFull) {
				want = ErrQueueFull
			}
			at, known := m.seen[msg.id]
			known = known && m.now.Sub(at) < idsAreKept
			if known {
				want = nil
			}
			r, err := q.Publish(ctx, Message{ID: msg.id, Scope: "s", Body: []byte(msg.body)}, to...)
			if !check(what, err, want) {
				break
			}
			if r.Seen != known || r.ID != msg.id {
				t.Fatalf("%s: got %+v, want seen %v", what, r, known)
			}
			if known {
				break
			}
			m.seen[msg.id] = m.now
			for _, target := range to {
				clone := *msg
				m.lines[target].waiting = append(m.lines[target].waiting, &clone)
			}
		case action < 60: // take
			may, must := l.mayTake(m.now)
			taken, err := tryTake(ctx, q, name)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if taken == nil {
				if must {
					t.Fatalf("%s: nothing was taken, %d may be", what, len(may))
				}
				break
			}
			at := slices.IndexFunc(may, func(m *modelMessage) bool { return m.id == taken.ID && m.failed == taken.Failed })
			if at < 0 {
				t.Fatalf("%s: took %s, which may not be taken", what, taken.ID)
			}
			got := modelMessage{id: taken.ID, body: string(taken.Body), failed: taken.Failed, kills: taken.Kills, next: may[at].next, reason: taken.Reason}
			if diff := cmp.Diff(*may[at], got, cmp.AllowUnexported(modelMessage{})); diff != "" {
				t.Fatalf("%s (-want +got):\n%s", what, diff)
			}
			may[at].taken = taken
		case action < 72 && one != nil: // finish
			var results []Outgoing
			var made []*modelMessage
			grows := map[string]counts{name: one.counts().negated()}
			total := one.counts().negated()
			for range random.IntN(3) {
				r := newMessage()
				o := Outgoing{Message: Message{ID: r.id, Body: []byte(r.body)}, To: names[random.IntN(len(names))]}
				if random.IntN(5) == 0 {
					o.Dead = "refused"
				} else {
					grows[o.To] = grows[o.To].plus(r.counts())
				}
				total = total.plus(r.counts())
				results, made = append(results, o), append(made, r)
			}
			var want error
			for target, more := range grows {
				if m.lines[target].room(more) != nil {
					want = ErrQueueFull
				}
			}
			if want == nil {
				want = m.room(total)
			}
			if !check(what, one.taken.Finish(ctx, results...), want) {
				break
			}
			l.remove(one)
			for i, r := range results {
				target := m.lines[r.To]
				if r.Dead != "" {
					target.bury(made[i], r.Dead)
				} else {
					target.waiting = append(target.waiting, made[i])
				}
			}
		case action < 80 && one != nil: // fail, or be killed
			report, kills := one.taken.Fail, 0
			if random.IntN(2) == 0 {
				report, kills = one.taken.Killed, 1
			}
			verdict, err := report(ctx, what)
			check(what, err, nil)
			one.failed, one.kills, one.taken, one.reason = one.failed+1, one.kills+kills, nil, what
			if dead := one.failed >= l.rules.Attempts || one.kills == MaxKills; dead != verdict.Dead {
				t.Fatalf("%s: got %+v", what, verdict)
			} else if dead {
				l.bury(one, what)
				break
			}
			one.next = m.now.Add(l.rules.retryAfter(one.failed))
			if !verdict.Again.Equal(one.next) {
				t.Fatalf("%s: again %v, want %v", what, verdict.Again, one.next)
			}
		case action < 84 && one != nil:
			one.taken.PutBack()
			one.taken = nil
		case action < 86 && one != nil:
			check(what, one.taken.Bury(ctx, what), nil)
			l.bury(one, what)
		case action < 90 && len(l.dead) > 0: // one dead letter
			letters, err := q.DeadLetters(ctx, name, 0, 1000)
			if err != nil {
				t.Fatal(err)
			}
			at := random.IntN(len(letters))
			d := slices.IndexFunc(l.dead, func(m *modelMessage) bool {
				return m.id == letters[at].ID && m.failed == letters[at].Failed && m.reason == letters[at].Reason
			})
			if d < 0 {
				t.Fatalf("%s: there is no such dead letter: %+v", what, letters[at])
			}
			if random.IntN(2) == 0 {
				_, err := q.DiscardDead(ctx, name, letters[at].Key)
				check(what, err, nil)
			} else {
				_, err := q.RetryDead(ctx, name, letters[at].Key)
				if !check(what, err, l.room(l.dead[d].counts())) {
					break
				}
				l.waiting = append(l.waiting, &modelMessage{id: l.dead[d].id, body: l.dead[d].body})
			}
			l.dead = slices.Delete(l.dead, d, d+1)
		case action < 92 && step%3 == 0:
			check(what, q.Drop(ctx, name), nil)
			for _, one := range l.takenOnes() {
				check(what, one.taken.Finish(ctx), ErrGone)
			}
			l.waiting, l.dead = nil, nil
		case action < 94:
			check(what, verifyCounters(ctx, q), nil)
			reopen()
		case action < 95:
			m.now = m.now.Add(11 * time.Hour)
		case action < 96 && name != "bounded": // other rules
			l.rules.Parallel = 4 - l.rules.Parallel
			check(what, q.SetRules(ctx, name, l.rules), nil)
		}
		m.compare(t, what, q)
	}
	if err := verifyCounters(ctx, q); err != nil {
		t.Fatal(err)
	}
}

// compare fails the test unless q counts what the model has.
func (m *model) compare(t *testing.T, what string, q *Queues) {
	t.Helper()
	var total counts
	for name, l := range m.lines {
		s, err := q.Stats(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		waiting, dead := sum(l.waiting), sum(l.dead)
		total = total.plus(waiting).plus(dead)
		got := []int64{s.Messages, s.Bytes, s.Dead, s.DeadBytes, int64(s.Taken)}
		want := []int64{waiting.messages, waiting.bytes, dead.messages, dead.bytes, int64(len(l.takenOnes()))}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s: %s counts (-want +got):\n%s", what, name, diff)
		}
		if len(l.waiting) > 0 && (s.Reason != l.waiting[0].reason || s.Failed != l.waiting[0].failed) {
			t.Fatalf("%s: the first of %s is %+v, want %+v", what, name, s, l.waiting[0])
		}
	}
	if messages, bytes := q.Total(); (counts{messages, bytes}) != total {
		t.Fatalf("%s: the total is %d, %d, want %v", what, messages, bytes, total)
	}
}

// verifyCounters compares the counters on disk with the rows.
func verifyCounters(ctx context.Context, q *Queues) error {
	return q.store.View(ctx, func(tx *store.Tx) error {
		var wrong int
		err := tx.QueryRow(`SELECT count(*) FROM queues AS q WHERE
			messages != (SELECT count(*) FROM queue_messages WHERE queue = number) OR
			bytes != (SELECT coalesce(sum(` + sizeOfRow + `), 0) FROM queue_messages WHERE queue = number) OR
			dead != (SELECT count(*) FROM queue_dead WHERE queue = number) OR
			dead_bytes != (SELECT coalesce(sum(` + sizeOfRow + `), 0) FROM queue_dead WHERE queue = number)`).Scan(&wrong)
		if err == nil && wrong > 0 {
			err = fmt.Errorf("the counters of %d queues are wrong", wrong)
		}
		if err == nil {
			err = tx.QueryRow(`SELECT count(*) FROM queue_attempts WHERE seq NOT IN (SELECT seq FROM queue_messages)`).Scan(&wrong)
		}
		if err == nil && wrong > 0 {
			err = fmt.Errorf("there are %d failures of messages that are gone", wrong)
		}
		return err
	})
}

// tryTake takes a message if one may be taken now.
func tryTake(ctx context.Context, q *Queues, name string) (*Taken, error) {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return nil, err
	}
	for {
		if t, wait, err := q.takeOrRead(ctx, l); t != nil || wait != nil || err != nil {
			return t, err
		}
	}
}
