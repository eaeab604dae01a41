package outbox

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"dormouse/internal/store"
)

// A line is delivered in order, one at a time, and empties the outbox.
func TestOrder(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) {
			<-time.After(100 * time.Millisecond)
			return status(http.StatusOK), nil
		})
		r.put(to("a", "x", "1"), to("a", "x", "2"), to("b", "x", "3"))
		r.put(to("a", "x", "4"))
		r.after(50 * time.Millisecond)
		r.expectInAnyOrder("1 3")
		r.after(time.Second)
		r.expect("2 4")
		if n := r.waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// What was put in is delivered by the next life of the host, and what was delivered is not.
func TestNextLife(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.answers(func(q request) (*http.Response, error) {
			if strings.HasSuffix(q.url, "2") {
				return hang(q)
			}
			return status(http.StatusOK), nil
		})
		r.put(to("a", "x", "1"), to("a", "x", "2"), to("a", "x", "3"))
		r.after(time.Second)
		r.expect("1 2")
		r.answers(nil)
		r.reopen()
		r.expect("2 3")
		r.reopen()
		r.after(time.Hour)
		r.expect("")
	})
}

// A transaction that fails leaves nothing.
func TestNothingOfAFailedTransaction(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		failed := errors.New("failed")
		err := r.store.Update(t.Context(), func(tx *store.Tx) error {
			return errors.Join(r.PutIn(tx, to("a", "x", "1")), failed)
		})
		if !errors.Is(err, failed) {
			t.Fatal(err)
		}
		r.Wake()
		r.put(to("a", "x", "2"))
		r.expect("2")
	})
}

// Waits double, with jitter, from a second to an hour; what was tried for a day is given up, and
// can be retried or discarded.
func TestBackOffAndGivingUp(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) { return nil, errors.New("no route to host") })
		r.put(to("a", "x", "1"))
		r.after(24 * time.Hour)
		times := r.times()
		for i := 1; i < len(times); i++ {
			wait := times[i] - times[i-1]
			longest := min(firstWait<<min(i-1, 20), lastWait)
			if wait < longest/2 || wait > longest {
				t.Errorf("wait %d is %v, want half of %v or more", i, wait, longest)
			}
		}
		if len(times) < 30 || len(times) > 60 {
			t.Errorf("%d tries in a day", len(times))
		}
		all, err := r.Troubled(t.Context(), 0, 10)
		if err != nil || len(all) != 1 || !all[0].GivenUp || all[0].Reason != "no route to host" || all[0].Tries != len(times) {
			t.Fatalf("got %+v, %v", all, err)
		}
		r.answers(nil)
		r.after(48 * time.Hour)
		r.expect("")
		if err := r.Retry(t.Context(), all[0].Key, 12345); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "12345") {
			t.Errorf("got %v", err)
		}
		r.expect("1")
		if all, err := r.Troubled(t.Context(), 0, 10); len(all) != 0 || err != nil {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}

// A delivery that comes while its line fails has a day of its own.
func TestEachHasItsOwnDay(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		r.put(to("a", "x", "1"))
		r.after(20 * time.Hour)
		r.put(to("a", "x", "2"))
		r.after(6 * time.Hour)
		r.got()
		r.answers(nil)
		r.after(time.Hour)
		r.expect("2")
	})
}

// The host was down for a year, or its clock was set: nothing is given up for that, and nothing
// waits longer than it had to.
func TestClockAYearOff(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, off := range []time.Duration{year, -year} {
		t.Run(off.String(), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				t := r.t
				r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
				r.put(to("a", "x", "1"), to("a", "x", "2"))
				r.after(12 * time.Hour)
				r.off = off
				r.reopen()
				r.after(time.Hour)
				if len(r.times()) < 2 {
					t.Error("was not tried again within the hour")
				}
				r.answers(nil)
				r.after(time.Hour)
				if got := r.got(); got != "1 2" {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}

// Answers decide what becomes of a delivery.
func TestAnswers(t *testing.T) {
	for code, want := range map[int]string{
		200: "1 2", 202: "1 2", 299: "1 2",
		400: "1 2", 401: "1 2", 404: "1 2", 422: "1 2", // final for this one, and blocks nothing
		301: "1 2", 303: "1 2", 307: "1 2", 308: "1 2",
		408: "1 1 2", 429: "1 1 2", 500: "1 1 2", 503: "1 1 2",
		410: "1", // ends the line
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			inBubble(t, func(r *rig) {
				t := r.t
				first := true
				r.answers(func(request) (*http.Response, error) {
					if first {
						first = false
						return status(code, "Location", "http://x/elsewhere"), nil
					}
					return status(http.StatusOK), nil
				})
				var told []string
				r.Handle("task", Kind{Gone: func(_ *store.Tx, line string) error {
					told = append(told, line)
					return nil
				}})
				one := to("a", "x", "1")
				one.Kind = "task"
				r.put(one, to("a", "x", "2"))
				r.after(time.Minute)
				r.expect(want)
				s, err := r.Stats(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if s.Waiting != 0 || (s.GivenUp == 1) != (code/100 == 3) {
					t.Errorf("got %+v", s)
				}
				if (code == http.StatusGone) != (len(told) == 1) {
					t.Errorf("told %q", told)
				}
			})
		})
	}
}

// Retry-After is obeyed, in seconds and as a date.
func TestRetryAfter(t *testing.T) {
	for name, header := range map[string]func() string{
		"seconds": func() string { return "600" },
		"date":    func() string { return time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				t := r.t
				r.answers(func(request) (*http.Response, error) {
					return status(http.StatusTooManyRequests, "Retry-After", header()), nil
				})
				r.put(to("a", "x", "1"))
				r.after(time.Second)
				r.answers(nil)
				r.after(time.Minute)
				times := r.times()
				if len(times) != 1 {
					t.Errorf("%d tries in the first minute", len(times))
				}
				r.after(10 * time.Minute)
				if times := r.times(); len(times) != 1 || times[0] < 599*time.Second || times[0] > 602*time.Second {
					t.Errorf("tried at %v", times)
				}
			})
		})
	}
}

// A target that asks for a wait of thousands of years is asked again as seldom as any: the delivery
// is given up after its day.
func TestRetryAfterYears(t *testing.T) {
	for name, header := range map[string]string{
		"seconds": "4294967295",
		"date":    "Fri, 31 Dec 9999 23:59:59 GMT",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				t := r.t
				r.answers(func(request) (*http.Response, error) {
					return status(http.StatusTooManyRequests, "Retry-After", header), nil
				})
				r.put(to("a", "x", "1"))
				r.after(25 * time.Hour)
				all, err := r.Troubled(t.Context(), 0, 10)
				if times := r.times(); len(times) != 1 || err != nil || len(all) != 1 || !all[0].GivenUp {
					t.Errorf("%d tries, then %+v, %v", len(times), all, err)
				}
			})
		})
	}
}

// An undelivered delivery is replaced by a newer one of its event, which keeps its place in time:
// at the end.
func TestReplaced(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		steps := func(id string) Delivery {
			d := to("a", "x", id)
			d.Event, d.Replaces = "steps", true
			return d
		}
		r.put(to("a", "x", "1"))
		r.after(time.Millisecond)
		r.put(steps("2"))
		r.put(to("a", "x", "3"), steps("4"))
		r.got()
		r.answers(nil)
		r.after(time.Minute)
		r.expect("1 3 4")
	})
}

// A delivery with Every comes at most once in that time, and delays nothing else of its line.
func TestEvery(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		details := func(id string) Delivery {
			d := to("a", "x", id)
			d.Event, d.Replaces, d.Every = "details", true, 495*time.Millisecond
			return d
		}
		for i := range 90 { // within 900 ms
			r.put(details(fmt.Sprint("d", i)))
			if i == 55 {
				r.put(to("a", "x", "status"))
			}
			r.after(10 * time.Millisecond)
		}
		r.expect("d0 d49 status")
		r.after(time.Second)
		r.expect("d89")
		if n := r.waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// Dropping a line drops all of it.
func TestDropLine(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		r.put(to("a", "x", "1"), to("a", "x", "2"), to("b", "x", "3"))
		r.after(time.Millisecond)
		r.got()
		r.answers(nil)
		if err := r.store.Update(t.Context(), func(tx *store.Tx) error { return r.DropLine(tx, "a") }); err != nil {
			t.Fatal(err)
		}
		r.Wake()
		r.after(time.Hour)
		r.expect("3")
		if n := r.waiting(); n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// A new line does not wait for what a line before it had to.
func TestLineAfterADroppedOne(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		r.put(to("a", "x", "1"))
		r.after(time.Hour)
		r.got()
		r.answers(nil)
		if err := r.store.Update(t.Context(), func(tx *store.Tx) error { return r.DropLine(tx, "a") }); err != nil {
			t.Fatal(err)
		}
		r.put(to("b", "x", "2"))
		r.after(time.Second)
		r.expect("2")
	})
}

// Deliveries whose line was lost with a damaged store are made all the same; a damaged one is
// given up.
func TestDamagedStore(t *testing.T) {
	inBubble(t, func(r *rig) {
		t := r.t
		r.answers(func(request) (*http.Response, error) { return status(http.StatusServiceUnavailable), nil })
		r.put(to("a", "x", "1"), to("b", "x", "2"))
		r.after(time.Millisecond)
		r.got()
		err := r.store.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec(`DELETE FROM outbox_lines WHERE name = 'a'`)
			if err == nil {
				_, err = tx.Exec(`UPDATE outbox_deliveries SET url = 'http://x/other' WHERE id = '2'`)
			}
			if err == nil {
				err = nameLostLines(tx)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		r.answers(nil)
		r.reopen()
		r.after(time.Minute)
		r.expect("1")
		all, err := r.Troubled(t.Context(), 0, 10)
		if err != nil || len(all) != 1 || !all[0].GivenUp || !strings.Contains(all[0].Reason, "damaged") {
			t.Errorf("got %+v, %v", all, err)
		}
	})
}
