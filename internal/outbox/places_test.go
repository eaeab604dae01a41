package outbox

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hangsAt has requests hang whose host begins with "hang"; all others take 10 ms.
func hangsAt(q request) (*http.Response, error) {
	if strings.HasPrefix(q.url, "http://hang") || strings.Contains(q.url, "/hang") {
		return hang(q)
	}
	<-time.After(10 * time.Millisecond)
	return status(http.StatusNoContent), nil
}

// latest returns when the last of those requests came whose id has that prefix, and how many
// there were.
func (r *rig) latest(prefix string) (at time.Duration, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, q := range r.requests {
		if strings.HasPrefix(q.url[strings.LastIndexByte(q.url, '/')+1:], prefix) {
			at, n = max(at, q.at), n+1
		}
	}
	return at, n
}

// Four requests are under way at a target, 64 in all.
func TestBounds(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) {
			<-time.After(900 * time.Millisecond)
			return status(http.StatusNoContent), nil
		})
		// Lines that have not been quick yet have three places of four, and 48 of 64.
		r.put(numbered(10, func(int) string { return "x" })...)
		r.after(time.Millisecond)
		if _, n := r.latest(""); n != 3 {
			t.Errorf("%d at once at a target that is not known", n)
		}
		r.after(time.Minute)
		r.got()
		r.put(numbered(10, func(int) string { return "x" })...)
		r.after(time.Millisecond)
		if _, n := r.latest(""); n != 4 {
			t.Errorf("%d at once at a target", n)
		}
		r.after(time.Minute)
		r.got()
		r.put(numbered(100, func(i int) string { return fmt.Sprint("x", i) })...)
		r.after(time.Minute)
		r.got()
		r.put(numbered(100, func(i int) string { return fmt.Sprint("x", i) })...)
		r.after(time.Millisecond)
		if _, n := r.latest(""); n != 64 {
			t.Errorf("%d at once in all", n)
		}
	})
}

// Ten subscriptions that hang, on ports of their own or on the same port, delay those that are
// quick by nothing; and each of them is tried to its end.
func TestHangingDelayNoOther(t *testing.T) {
	for name, host := range map[string]string{"same port": "x", "own ports": "x%d"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				t := r.t
				r.answers(hangsAt)
				at := func(i int) string { return strings.ReplaceAll(host, "%d", fmt.Sprint(i)) }
				r.put(numbered(100, at)...)
				r.after(10 * time.Second)
				r.got()
				for i := range 10 {
					r.put(to(fmt.Sprint("hang", i), at(1000+i), fmt.Sprint("hang", i)))
				}
				for range 25 {
					begun := time.Since(r.begun)
					r.put(numbered(100, at)...)
					r.after(time.Second)
					latest, n := r.latest("")
					_, hanging := r.latest("hang")
					// On one port a hundred have two places or three, one is held by what is not answered.
					if n-hanging != 100 || latest-begun > time.Second {
						t.Errorf("%d came within a second, the last after %v", n-hanging, latest-begun)
					}
					r.mu.Lock()
					r.requests = nil
					r.mu.Unlock()
				}
				all, err := r.Troubled(t.Context(), 0, 100)
				if err != nil || len(all) < 2 || !strings.Contains(all[0].Reason, "no answer within 10s") {
					t.Errorf("in trouble are %+v, %v", all, err)
				}
			})
		})
	}
}

// A target may answer slowly: every delivery is made all the same, one after the other.
func TestSlowTarget(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		served := make(map[string]bool)
		r.answers(func(q request) (*http.Response, error) {
			select {
			case <-time.After(3 * time.Second):
				r.mu.Lock()
				defer r.mu.Unlock()
				served[q.url] = true
				return status(http.StatusNoContent), nil
			case <-q.ctx.Done():
				return nil, q.ctx.Err()
			}
		})
		r.put(numbered(20, func(int) string { return "x" })...)
		r.after(2 * time.Minute)
		if n := r.waiting(); n != 0 || len(served) != 20 {
			t.Errorf("%d wait, %d were served", n, len(served))
		}
	})
}

// More targets hang than there are places: those that were quick have theirs.
func TestManyHangingTargets(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(hangsAt)
		r.put(to("quick", "x", "quick"))
		r.after(time.Second)
		var hanging []Delivery
		for i := range 500 {
			hanging = append(hanging, to(fmt.Sprint("h", i), fmt.Sprint("hang", i), fmt.Sprint("h", i)))
		}
		r.put(hanging...)
		for range 100 {
			r.after(time.Second)
			r.got()
			r.put(to("quick", "x", "quick"))
			r.after(time.Millisecond)
			if _, n := r.latest("quick"); n != 1 {
				t.Fatal("the quick one waits")
			}
		}
		r.after(10 * time.Minute)
		all, err := r.Troubled(t.Context(), 0, 1000)
		if err != nil || len(all) != 500 {
			t.Errorf("%d of 500 have failed, %v", len(all), err)
		}
	})
}
