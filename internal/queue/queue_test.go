package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/internal/store"
)

func openAt(t *testing.T, path string, options Options) (*store.Store, *Queues) {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	q, err := Open(s, options)
	if err != nil {
		t.Fatal(err)
	}
	return s, q
}

func open(t *testing.T) *Queues {
	t.Helper()
	_, q := openAt(t, filepath.Join(t.TempDir(), "store.db"), Options{})
	return q
}

func publish(t *testing.T, q *Queues, name string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if _, err := q.Publish(t.Context(), Message{Body: []byte(body)}, name); err != nil {
			t.Fatal(err)
		}
	}
}

// publishMany publishes the numbers up to n at once, in order.
func publishMany(t *testing.T, q *Queues, name string, n int) {
	t.Helper()
	l, err := q.lineOf(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var cs changes
	for i := range n {
		cs.add(change{line: l, waiting: counts{1, int64(len(fmt.Sprint(i)))}})
	}
	err = q.transact(t.Context(), cs, func(tx *store.Tx) error {
		for i := range n {
			if err := q.insert(tx, l, Message{Body: fmt.Append(nil, i)}, q.now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, q *Queues, name string) *Taken {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	taken, err := q.Take(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func finish(t *testing.T, taken *Taken, results ...Outgoing) {
	t.Helper()
	if err := taken.Finish(t.Context(), results...); err != nil {
		t.Fatal(err)
	}
}

// A long backlog is taken in order, across failures and restarts.
func TestOrder(t *testing.T) {
	const n = 5 * aheadMessages
	path := filepath.Join(t.TempDir(), "store.db")
	s, q := openAt(t, path, Options{})
	rules := Rules{FirstRetry: time.Millisecond, LastRetry: time.Millisecond}
	setRules := func() {
		if err := q.SetRules(t.Context(), "a", rules); err != nil {
			t.Fatal(err)
		}
	}
	setRules()
	publishMany(t, q, "a", n)
	for i := range n {
		taken := take(t, q, "a")
		switch i % 50 {
		case 1:
			if _, err := taken.Fail(t.Context(), "not today"); err != nil {
				t.Fatal(err)
			}
			taken = take(t, q, "a")
			if taken.Failed != 1 || taken.Reason != "not today" {
				t.Errorf("it has failed %d times: %s", taken.Failed, taken.Reason)
			}
		case 2:
			taken.PutBack()
			taken = take(t, q, "a")
		case 3:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, q = openAt(t, path, Options{})
			setRules()
			taken = take(t, q, "a")
		}
		if string(taken.Body) != fmt.Sprint(i) {
			t.Fatalf("got %s instead of %d", taken.Body, i)
		}
		finish(t, taken)
	}
	if s, err := q.Stats(t.Context(), "a"); s != (Stats{}) || err != nil {
		t.Errorf("%+v is left, %v", s, err)
	}
}

// Take waits for a message, for the end of another, and for the time of the next attempt.
func TestTakeWaits(t *testing.T) {
	q := open(t)
	taking := func() <-chan *Taken {
		taken := make(chan *Taken)
		go func() {
			one, err := q.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			taken <- one
		}()
		return taken
	}
	first := taking()
	publish(t, q, "a", "1", "2")
	one := <-first
	second := taking()
	select {
	case two := <-second:
		t.Fatalf("%s was taken beside the first", two.Body)
	case <-time.After(20 * time.Millisecond):
	}
	finish(t, one)
	two := <-second
	if string(one.Body)+string(two.Body) != "12" {
		t.Errorf("took %s, then %s", one.Body, two.Body)
	}
	if err := q.SetRules(t.Context(), "a", Rules{FirstRetry: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	verdict, err := two.Fail(t.Context(), "later")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := q.Stats(t.Context(), "a"); !s.Again.Equal(verdict.Again) || s.Reason != "later" || s.Failed != 1 || err != nil {
		t.Errorf("got %+v, %v", s, err)
	}
	again := <-taking()
	if now := time.Now(); string(again.Body) != "2" || now.Before(verdict.Again) {
		t.Errorf("took %s at %v instead of %v", again.Body, now, verdict.Again)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// An id is accepted once a day in each scope, and forgotten afterwards.
func TestIDs(t *testing.T) {
	q := open(t)
	now := time.Now()
	q.now = func() time.Time { return now }
	accept := func(scope, id string) bool {
		t.Helper()
		r, err := q.Publish(t.Context(), Message{Scope: scope, ID: id}, "a")
		if err != nil || r.ID != id {
			t.Fatal(r, err)
		}
		return !r.Seen
	}
	got := []bool{accept("s", "1"), accept("s", "1"), accept("t", "1"), accept("s", "2")}
	now = now.Add(idsAreKept - time.Millisecond)
	got = append(got, accept("s", "1"))
	now = now.Add(time.Millisecond)
	got = append(got, accept("s", "1"), accept("s", "1"))
	if want := []bool{true, false, true, true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("accepted %v, want %v", got, want)
	}
	if err := q.SetRules(t.Context(), "a", Rules{Limits: Limits{Messages: 1}}); err != nil {
		t.Fatal(err)
	}
	if accept("s", "1") {
		t.Error("a full queue has accepted an id again")
	}
	if _, err := q.Publish(t.Context(), Message{Scope: "s", ID: "3"}, "a"); !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v", err)
	}
	if err := q.SetRules(t.Context(), "a", Rules{}); err != nil || !accept("s", "3") {
		t.Error("an id that was refused is taken for seen", err)
	}
}

// The table of ids does not grow with what is older than a day.
func TestOldIDsAreSwept(t *testing.T) {
	q := open(t)
	now := time.Now()
	const perDay = 300
	for day := range 4 {
		err := q.update(t.Context(), func(tx *store.Tx) error {
			for n := range perDay {
				if err := q.seen.remember(tx, Message{Scope: "s", ID: fmt.Sprint(n%7, "-", day, "-", n)}, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		now = now.Add(idsAreKept)
	}
	var rows int
	err := q.store.View(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT count(*) FROM queue_ids`).Scan(&rows)
	})
	if rows < perDay || rows > 2*perDay+2*sweepRows || err != nil {
		t.Errorf("there are %d ids, %v", rows, err)
	}
}

// A message that killed beside others is delivered alone, so that only the guilty one dies.
func TestKills(t *testing.T) {
	q := open(t)
	if err := q.SetRules(t.Context(), "a", Rules{Parallel: 3, FirstRetry: time.Millisecond, LastRetry: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	publish(t, q, "a", "good", "poison", "fine")
	var done []string
	for len(done) < 2 {
		var taken []*Taken
		for len(taken) < 3 {
			one, err := tryTake(t.Context(), q, "a")
			if err != nil {
				t.Fatal(err)
			}
			if one == nil {
				break
			}
			taken = append(taken, one)
		}
		if len(taken) == 0 {
			taken = append(taken, take(t, q, "a"))
		}
		killed := slices.ContainsFunc(taken, func(one *Taken) bool { return string(one.Body) == "poison" })
		for _, one := range taken {
			if one.Kills > 0 && len(taken) > 1 {
				t.Errorf("%s has killed and was taken beside others", one.Body)
			}
			if !killed {
				finish(t, one)
				done = append(done, string(one.Body))
			} else if _, err := one.Killed(t.Context(), "signal: killed"); err != nil {
				t.Fatal(err)
			}
		}
	}
	letters, err := q.DeadLetters(t.Context(), "a", 0, 10)
	for len(letters) == 0 && err == nil {
		if _, err = take(t, q, "a").Killed(t.Context(), "signal: killed"); err == nil {
			letters, err = q.DeadLetters(t.Context(), "a", 0, 10)
		}
	}
	if len(letters) != 1 || letters[0].Kills != MaxKills || letters[0].Reason != "signal: killed" || err != nil {
		t.Errorf("the dead letters are %+v, %v", letters, err)
	}
	slices.Sort(done)
	if !slices.Equal(done, []string{"fine", "good"}) {
		t.Errorf("%v were finished", done)
	}
}

// Damage of stored bytes costs that message alone, and it is named.
func TestDamage(t *testing.T) {
	var lost []string
	_, q := openAt(t, filepath.Join(t.TempDir(), "store.db"), Options{Lost: func(queue, id string, cause error) {
		lost = append(lost, fmt.Sprint(queue, " ", id, ": ", cause))
	}})
	for _, id := range []string{"1", "2", "3"} {
		if _, err := q.Publish(t.Context(), Message{ID: id, Body: []byte("whole")}, "a"); err != nil {
			t.Fatal(err)
		}
	}
	damage := func(table, id string) {
		t.Helper()
		err := q.update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`UPDATE `+table+` SET body = CAST('whale' AS BLOB) WHERE id = ?`, id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	damage("queue_messages", "2")
	for _, want := range []string{"1", "3"} {
		one := take(t, q, "a")
		if one.ID != want {
			t.Errorf("took %s, want %s", one.ID, want)
		}
		if want == "3" {
			if err := one.Bury(t.Context(), "enough"); err != nil {
				t.Fatal(err)
			}
		} else {
			finish(t, one)
		}
	}
	if diff := cmp.Diff([]string{"a 2: " + ErrDamaged.Error()}, lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	letters, err := q.DeadLetters(t.Context(), "a", 0, 10)
	if len(letters) != 2 || letters[0].ID != "2" || letters[0].Reason != ErrDamaged.Error() || letters[1].ID != "3" || err != nil {
		t.Fatalf("the dead letters are %+v, %v", letters, err)
	}
	if d, err := q.DeadLetter(t.Context(), "a", letters[0].Key); !errors.Is(err, ErrDamaged) || string(d.Body) != "whale" {
		t.Errorf("got %q, %v", d.Body, err)
	}
	if n, err := q.RetryDead(t.Context(), "a"); n != 1 || !errors.Is(err, ErrDamaged) {
		t.Errorf("retried %d, %v", n, err)
	}
	if one := take(t, q, "a"); one.ID != "3" || string(one.Body) != "whole" || one.Failed != 0 {
		t.Errorf("took %+v", one)
	}
	if n, err := q.DiscardDead(t.Context(), "a", letters[0].Key, 99); n != 1 || !errors.Is(err, ErrGone) || !strings.Contains(err.Error(), "99") {
		t.Errorf("discarded %d, %v", n, err)
	}
}

// A page that SQLite can't read costs the message on it, which is named; those behind it are
// taken.
func TestDamagedPage(t *testing.T) {
	for name, rules := range map[string]Rules{
		"in order": {}, "in any order": {Parallel: 2},
		"retries": {Parallel: 2, FirstRetry: time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			s, q := openAt(t, path, Options{})
			setRules := func() {
				t.Helper()
				if err := q.SetRules(t.Context(), "a", rules); err != nil {
					t.Fatal(err)
				}
			}
			setRules()
			publish(t, q, "a", "1", strings.Repeat("spread over pages ", 2000), "3")
			if rules.FirstRetry > 0 {
				var all []*Taken
				rules.Parallel = 3
				setRules()
				for range 3 {
					all = append(all, take(t, q, "a"))
				}
				for _, one := range all {
					if _, err := one.Fail(t.Context(), "later"); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			damageOverflow(t, path, "spread over pages ")
			var lost []string
			_, q = openAt(t, path, Options{Lost: func(queue, id string, cause error) {
				lost = append(lost, queue+" "+id)
				if !errors.Is(cause, store.ErrDamaged) {
					t.Errorf("the cause is %v", cause)
				}
			}})
			setRules()
			var got []string
			for range 2 {
				one := take(t, q, "a")
				got = append(got, string(one.Body))
				finish(t, one)
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"1", "3"}) || !slices.Equal(lost, []string{"a of number 2"}) {
				t.Errorf("took %.20q, lost %q", got, lost)
			}
		})
	}
}

// damageOverflow breaks the chain of pages of the long value that holds the text.
func damageOverflow(t *testing.T, path, text string) {
	t.Helper()
	const page = 4096
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at+page <= len(file); at += page {
		if bytes.Count(file[at:at+page], []byte(text)) > page/len(text)/2 && bytes.Equal(file[at:at+2], []byte{0, 0}) {
			copy(file[at:], []byte{0xff, 0xff, 0xff, 0xff})
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is no such page")
}

// A dead letter that is named twice leaves once, and is counted once.
func TestDeadLetterNamedTwice(t *testing.T) {
	q := open(t)
	publish(t, q, "a", "1")
	if err := take(t, q, "a").Bury(t.Context(), "enough"); err != nil {
		t.Fatal(err)
	}
	letters, err := q.DeadLetters(t.Context(), "a", 0, 10)
	if len(letters) != 1 || err != nil {
		t.Fatalf("the dead letters are %+v, %v", letters, err)
	}
	if n, err := q.RetryDead(t.Context(), "a", letters[0].Key, letters[0].Key); n != 1 || err != nil {
		t.Errorf("retried %d, %v", n, err)
	}
	if s, err := q.Stats(t.Context(), "a"); s.Messages != 1 || s.Dead != 0 || err != nil {
		t.Errorf("got %+v, %v", s, err)
	}
	finish(t, take(t, q, "a"))
	if messages, size := q.Total(); messages != 0 || size != 0 {
		t.Errorf("%d messages are left, %d bytes", messages, size)
	}
}

// All dead letters of a queue leave it, also where they are many.
func TestManyDeadLetters(t *testing.T) {
	q := open(t)
	const n = 3*deadBatch + 1
	var results []Outgoing
	for i := range n {
		results = append(results, Outgoing{To: "b", Message: Message{Body: fmt.Append(nil, i)}, Dead: "refused"})
	}
	publish(t, q, "a", "1")
	finish(t, take(t, q, "a"), results...)
	if s, err := q.Stats(t.Context(), "b"); s.Dead != n || s.Messages != 0 || err != nil {
		t.Fatalf("got %+v, %v", s, err)
	}
	if got, err := q.RetryDead(t.Context(), "b"); got != n || err != nil {
		t.Fatalf("retried %d, %v", got, err)
	}
	for i := range n {
		one := take(t, q, "b")
		if string(one.Body) != fmt.Sprint(i) {
			t.Fatalf("took %s instead of %d", one.Body, i)
		}
		if err := one.Bury(t.Context(), "again"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := q.DiscardDead(t.Context(), "b"); got != n || err != nil {
		t.Fatalf("discarded %d, %v", got, err)
	}
	if messages, size := q.Total(); messages != 0 || size != 0 {
		t.Errorf("%d messages are left, %d bytes", messages, size)
	}
}

func TestTooLong(t *testing.T) {
	q := open(t)
	for name, m := range map[string]Message{
		"body":   {Body: make([]byte, MaxBody+1)},
		"header": {Header: make([]byte, MaxHeader+1)},
		"id":     {ID: strings.Repeat("x", MaxID+1)},
		"scope":  {ID: "x", Scope: strings.Repeat("x", MaxID+1)},
	} {
		if _, err := q.Publish(t.Context(), m, "a"); !errors.Is(err, ErrTooLong) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	longest := Message{Header: bytes.Repeat([]byte("h"), MaxHeader), Body: bytes.Repeat([]byte("b"), MaxBody)}
	if _, err := q.Publish(t.Context(), longest, "a"); err != nil {
		t.Fatal(err)
	}
	if one := take(t, q, "a"); !bytes.Equal(one.Body, longest.Body) || !bytes.Equal(one.Header, longest.Header) {
		t.Error("it is not as it was")
	} else if err := one.Finish(t.Context(), Outgoing{To: "b", Message: Message{Body: make([]byte, MaxBody+1)}}); !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

// A full disk refuses messages and keeps all that it has.
func TestDiskIsFull(t *testing.T) {
	q := open(t)
	publish(t, q, "a", "1")
	limitPages := func(pages int) {
		t.Helper()
		err := q.update(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)).Scan(&pages)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limitPages(1) // no more than it has
	before, _ := q.Stats(t.Context(), "a")
	if _, err := q.Publish(t.Context(), Message{Body: make([]byte, MaxBody)}, "a"); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	limitPages(1) // on the connection that the store has now
	one := take(t, q, "a")
	if err := one.Finish(t.Context(), Outgoing{To: "a", Message: Message{Body: make([]byte, MaxBody)}}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	after, err := q.Stats(t.Context(), "a")
	before.Taken = 1
	if diff := cmp.Diff(before, after); diff != "" || err != nil {
		t.Errorf("(-before +after):\n%s%v", diff, err)
	}
	limitPages(1 << 30)
	finish(t, one, Outgoing{To: "a", Message: Message{Body: []byte("2")}})
	if one := take(t, q, "a"); string(one.Body) != "2" {
		t.Errorf("took %s", one.Body)
	}
}

// Counters that do not fit the rows, as in a file that was rebuilt, are made anew.
func TestRecount(t *testing.T) {
	q := open(t)
	publish(t, q, "a", "1", "22", "333")
	if _, err := take(t, q, "a").Fail(t.Context(), "later"); err != nil {
		t.Fatal(err)
	}
	publish(t, q, "b", "4444")
	if err := take(t, q, "b").Bury(t.Context(), "enough"); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{
		`DELETE FROM queue_messages WHERE body = CAST('1' AS BLOB)`,
		`DELETE FROM queues WHERE name = 'b'`,
	} {
		err := q.update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(damage)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := verifyCounters(t.Context(), q); err == nil {
		t.Fatal("the counters are right")
	}
	if err := q.update(t.Context(), recount); err != nil {
		t.Fatal(err)
	}
	if err := verifyCounters(t.Context(), q); err != nil {
		t.Error(err)
	}
	q, err := Open(q.store, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Names(); !slices.Equal(got, []string{"a", "lost-2"}) {
		t.Errorf("the queues are %v", got)
	}
}

// Many producers and consumers at once lose nothing and do nothing twice.
func TestManyAtOnce(t *testing.T) {
	q := open(t)
	if err := q.SetRules(t.Context(), "in", Rules{Parallel: 4}); err != nil {
		t.Fatal(err)
	}
	const producers, each = 8, 25
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var all sync.WaitGroup
	for p := range producers {
		all.Go(func() {
			for n := range each {
				if _, err := q.Publish(ctx, Message{Body: fmt.Append(nil, p, " ", n)}, "in"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var passed atomic.Int64
	for range 4 {
		all.Go(func() {
			for {
				one, err := q.Take(ctx, "in")
				if errors.Is(err, context.Canceled) {
					return
				}
				if err == nil {
					err = one.Finish(ctx, Outgoing{To: "out", Message: Message{Body: one.Body}})
				}
				if err != nil {
					t.Error(err)
					return
				}
				passed.Add(1)
			}
		})
	}
	seen := make(map[string]bool)
	for range producers * each {
		one := take(t, q, "out")
		if seen[string(one.Body)] {
			t.Errorf("%s came twice", one.Body)
		}
		seen[string(one.Body)] = true
		finish(t, one)
	}
	stop()
	all.Wait()
	if messages, _ := q.Total(); messages != 0 || passed.Load() != producers*each {
		t.Errorf("%d messages are left, %d were passed on", messages, passed.Load())
	}
	if err := verifyCounters(t.Context(), q); err != nil {
		t.Error(err)
	}
}

func TestNewID(t *testing.T) {
	last := ""
	for range 3 {
		id := NewID()
		if len(id) != 36 || id[14] != '7' || strings.Compare(id[:8], last) < 0 {
			t.Errorf("%s comes after %s", id, last)
		}
		last = id[:8]
	}
}
