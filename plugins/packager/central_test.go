package packager

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/plugins/access"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// centralRig is a rig with a central repository of the test's.
type centralRig struct {
	*rig

	guard  sync.Mutex // guards the fields below
	wishes map[string]oci.Wish
	err    error
	looks  int
}

// change changes what the central repository answers.
func (c *centralRig) change(to func()) {
	c.guard.Lock()
	defer c.guard.Unlock()
	to()
}

// looked returns how often the host has looked.
func (c *centralRig) looked() (n int) {
	c.change(func() { n = c.looks })
	return n
}

func runCentral(t *testing.T, test func(*centralRig)) {
	t.Helper()
	c := &centralRig{wishes: make(map[string]oci.Wish)}
	runWith(t, func(o *Options) {
		o.Config.Central = "oci://127.0.0.1:1/central"
		o.Config.PlainHTTP = []string{"127.0.0.1:1"} // nothing listens there
		o.Wishes = func(context.Context) (map[string]oci.Wish, error) {
			c.guard.Lock()
			defer c.guard.Unlock()
			c.looks++
			return maps.Clone(c.wishes), c.err
		}
	}, func(r *rig) {
		c.rig = r
		test(c)
	})
}

// wish publishes a wish and waits for the look that it causes.
func (c *centralRig) wish(name, digit string, at time.Time) string {
	c.Helper()
	r := oci.Reference{Host: "127.0.0.1:1", Repository: name, Digest: "sha256:" + strings.Repeat(digit, 64)}
	c.change(func() { c.wishes[name] = oci.Wish{Package: name, Reference: r, Published: at} })
	c.notify(`{"events":[{"action":"push","target":{"repository":"central"}}]}`)
	c.settle()
	return r.String()
}

func (c *centralRig) notify(body string) int {
	w := httptest.NewRecorder()
	c.serveNotification(w, httptest.NewRequest(http.MethodPost, "/Service/Packager/central", strings.NewReader(body)))
	return w.Code
}

// settle lets the look and the operation that it begins come to their end.
func (c *centralRig) settle() {
	c.Helper()
	<-time.After(2 * looksApart)
	synctest.Wait()
	c.wait()
}

func (c *centralRig) note() wishNote {
	c.Helper()
	n, _, err := c.wishNotes().Get("p")
	c.must(err)
	return n
}

// A notification asks for a look if something was pushed into the central repository, or if it
// can't be read; what was pulled, as by a look, does not.
func TestNotification(t *testing.T) {
	runCentral(t, func(c *centralRig) {
		synctest.Wait()
		for body, looks := range map[string]int{
			`{"events":[{"action":"push","target":{"repository":"central"}}]}`:                     1,
			`{"events":[{"action":"pull","target":{"repository":"central"}}]}`:                     0,
			`{"events":[{"action":"push","target":{"repository":"other"}}]}`:                       0,
			`{"events":[{"action":"pull"},{"action":"delete","target":{"repository":"central"}}]}`: 1,
			`something else`: 1,
		} {
			<-time.After(2 * looksApart)
			synctest.Wait()
			before := c.looked()
			if code := c.notify(body); code != http.StatusAccepted {
				t.Errorf("%s: %d", body, code)
			}
			<-time.After(2 * looksApart)
			synctest.Wait()
			if c.looked()-before != looks {
				t.Errorf("%s: %d looks", body, c.looked()-before)
			}
		}
		before := c.looked()
		for range 100 {
			c.notify("x")
		}
		<-time.After(5 * looksApart)
		if c.looked()-before > 2 {
			t.Errorf("a hundred notifications make %d looks", c.looked()-before)
		}
	})
}

// A wish that can't be fetched is tried again, more and more seldom. A later one is tried at once;
// an earlier one, no wish and no registry change nothing.
func TestWishBacksOff(t *testing.T) {
	runCentral(t, func(c *centralRig) {
		begun := time.Now()
		first := c.wish("p", "1", begun)
		n := c.note()
		if n.Reference != first || n.State != wishWaiting || n.Tries != 1 || time.Until(n.Next) < 50*time.Second || n.Reason == "" {
			t.Fatalf("%+v", n)
		}
		<-time.After(24 * time.Hour)
		synctest.Wait()
		if n = c.note(); n.Tries < 8 || n.Tries > 14 {
			t.Errorf("it was tried %d times in a day", n.Tries)
		}
		second := c.wish("p", "2", begun.Add(time.Hour))
		c.wish("p", "1", begun)
		if n = c.note(); n.Reference != second || n.Tries != 1 {
			t.Errorf("%+v", n)
		}
		c.change(func() { c.wishes, c.err = nil, errors.New("the registry does not answer") })
		c.notify("x")
		c.settle()
		if v, err := c.viewOfCentral(); err != nil || v.Error == "" || len(v.Wishes) != 1 || v.Wishes[0].Reference != second {
			t.Errorf("%+v, %v", v, err)
		}
		c.restart(nil)
		c.settle()
		if n = c.note(); n.Reference != second {
			t.Errorf("after a restart: %+v", n)
		}
	})
}

// A wish waits for the operation of a user, and what a user installs later stays.
func TestWishAndUser(t *testing.T) {
	runCentral(t, func(c *centralRig) {
		c.probes = make(chan struct{})
		c.must(c.Install(records.Request{Verb: records.Install, Source: c.simple("1.0.0", "")}))
		synctest.Wait()
		c.wish2(t)
		close(c.probes)
		c.wait()
		c.probes = nil
		c.expect("INSTALLED", "1.0.0", "1")
		<-time.After(2 * busyPause)
		c.settle()
		if n := c.note(); n.Tries != 1 {
			t.Errorf("it was not tried after the user's operation: %+v", n)
		}
		record, _ := c.records.Get("p")
		if record.State != records.Installed || record.Failure == nil {
			t.Errorf("the old version does not stay: %s", record.Status())
		}
	})
}

// wish2 publishes a wish while an operation is under way.
func (c *centralRig) wish2(t *testing.T) {
	t.Helper()
	r := oci.Reference{Host: "127.0.0.1:1", Repository: "p", Digest: "sha256:" + strings.Repeat("2", 64)}
	c.change(func() { c.wishes["p"] = oci.Wish{Package: "p", Reference: r, Published: time.Now()} })
	c.lookSoon()
	<-time.After(2 * looksApart)
	synctest.Wait()
	if n := c.note(); n.State != wishWaiting || n.Tries != 0 || !strings.Contains(n.Reason, "under way") {
		t.Errorf("%+v", n)
	}
}

// A version that fails before its switch is tried again; one that fails in its trial is not, and a
// user's later operation counts for nothing.
func TestWishThatFails(t *testing.T) {
	runCentral(t, func(c *centralRig) {
		c.install(c.simple("1.0.0", ""))
		for _, test := range []struct {
			fails string
			want  wishState
		}{{"probe", wishWaiting}, {"trial", wishGivenUp}} {
			c.must(c.wishNotes().Put("p", wishNote{State: wishApplying, Operation: "its", Reference: "oci://127.0.0.1:1/p"}))
			c.install(c.simple("2.0.0", test.fails), func(r *records.Request) { r.ID, r.By = "its", byCentral })
			n := c.note()
			if n.State != test.want || n.Reason == "" {
				t.Errorf("%s: %+v", test.fails, n)
			}
			if got := c.unfulfilledWish("p"); !strings.Contains(got, n.Reason) {
				t.Errorf("it is told as %q", got)
			}
		}
		c.install(c.simple("3.0.0", ""))
		<-time.After(24 * time.Hour)
		synctest.Wait()
		c.expect("INSTALLED", "3.0.0", "13")
		if n := c.note(); n.State != wishGivenUp {
			t.Errorf("%+v", n)
		}
		if role, _ := NeededAccess(Callsign, shell.Call{Method: "look"}); role != access.Call {
			t.Errorf("a notification needs the role %v", role)
		}
	})
}
