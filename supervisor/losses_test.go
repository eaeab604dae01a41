package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
)

// lose makes the plugin lose what it slept in, for the cause, and waits for all that follows.
func (r *rig) lose(callsign string, cause error) {
	r.Helper()
	r.plugins[callsign].sleeps()
	r.activate(callsign)
	r.must(r.shell(callsign).Hibernate(r.Context(), shell.Requested, 0))
	r.plugins[callsign].failWakes(cause)
	r.must(r.shell(callsign).Activate(r.Context(), shell.Requested)) // it starts cold
	r.plugins[callsign].failWakes(nil)
	synctest.Wait()
}

// A loss is told by each host until it is acknowledged.
func TestLossIsToldUntilAcknowledged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	instances := []instance{{"A", configs.StartDeactivated, 50, nil}, {"B", configs.StartDeactivated, 50, nil}}
	var told []Loss
	runWith(t, instances, keeping(path), func(r *rig) {
		r.closing()
		heard := ear{&journal{}}
		defer r.Listen(heard)()
		r.lose("A", fmt.Errorf("%w: its library was replaced", hibernate.ErrChanged))
		told = r.LossesOf("A")
		if len(told) != 1 || told[0].Class != hibernate.Lasting || !told[0].Restorable || told[0].Path != "/aside" ||
			!told[0].Until.Equal(told[0].At.Add(time.Hour)) || !strings.Contains(told[0].Cause, "its library was replaced") {
			t.Errorf("got %+v", told)
		}
		if events := strings.Join(heard[0].read(), "\n"); strings.Count(events, "Controller lost") != 1 {
			t.Errorf("the loss was told as %s", events)
		}
	})
	runWith(t, instances, keeping(path), func(r *rig) {
		r.closing()
		if now := r.Losses(); len(now) != 1 || now[0] != told[0] {
			t.Errorf("the next host tells %+v, want %+v", now, told)
		}
		r.lose("A", fmt.Errorf("%w: it is damaged", hibernate.ErrRefused))
		r.lose("B", fmt.Errorf("%w: its library was replaced", hibernate.ErrChanged))
		if got := r.LossesOf("A"); len(got) != 2 || got[1].Class != hibernate.Untrusted || got[1].Restorable {
			t.Errorf("got %+v", got)
		}
		if count, err := r.AcknowledgeLosses("A"); count != 2 || err != nil {
			t.Errorf("acknowledged %d, %v", count, err)
		}
		if count, err := r.AcknowledgeLosses("A"); count != 0 || err != nil {
			t.Errorf("acknowledged %d again, %v", count, err)
		}
		if _, err := r.AcknowledgeLosses("C"); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v for an unknown callsign", err)
		}
	})
	// B is in no file any more, which is no reason to keep silent about it.
	runWith(t, instances[:1], keeping(path), func(r *rig) {
		r.closing()
		if now := r.Losses(); len(now) != 1 || now[0].Callsign != "B" {
			t.Errorf("after the acknowledgement the host tells %+v", now)
		}
		if count, err := r.AcknowledgeLosses("B"); count != 1 || err != nil {
			t.Errorf("acknowledged %d, %v", count, err)
		}
	})
	runWith(t, instances[:1], keeping(path), func(r *rig) {
		r.closing()
		if now := r.Losses(); len(now) > 0 {
			t.Errorf("the host still tells %+v", now)
		}
	})
}

// A host that was killed before it could record a loss leaves that to the next, which tells the
// loss once.
func TestUntoldLoss(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	untold := map[string]Loss{"A": {Callsign: "A", Class: hibernate.Lasting, Path: "/images/A/aside-3", Generation: 3, Restorable: true}}
	options := func(o *Options) {
		keeping(path)(o)
		o.Untold = func() ([]Loss, error) { return slices.Collect(maps.Values(untold)), nil }
		o.MarkTold = func(callsign string) error { delete(untold, callsign); return nil }
	}
	instances := []instance{{"A", configs.StartDeactivated, 50, nil}}
	for range 2 {
		runWith(t, instances, options, func(r *rig) {
			r.closing()
			synctest.Wait()
			if got := r.LossesOf("A"); len(got) != 1 || got[0].Generation != 3 || len(untold) > 0 {
				t.Errorf("it tells %+v, and %d are untold", got, len(untold))
			}
		})
	}
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		if _, err := r.AcknowledgeLosses("A"); err != nil {
			t.Error(err)
		}
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		if got := r.Losses(); len(got) > 0 {
			t.Errorf("after the acknowledgement it tells %+v", got)
		}
	})
}

// An image that was put aside is put back when the instance is down, and is no loss then.
func TestRestoreImage(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		if err := r.RestoreImage(r.Context(), "A", 0); !errors.Is(err, hibernate.ErrNoImage) {
			t.Errorf("got %v without an image", err)
		}
		if err := r.RestoreImage(r.Context(), "C", 0); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v for an unknown callsign", err)
		}
		r.lose("A", fmt.Errorf("%w: its library was replaced", hibernate.ErrChanged))
		if err := r.RestoreImage(r.Context(), "A", 0); !errors.Is(err, shell.ErrIllegalState) {
			t.Errorf("got %v while it runs", err)
		}
		r.must(r.shell("A").Deactivate(r.Context(), shell.Requested))
		r.must(r.RestoreImage(r.Context(), "A", 0))
		r.expectState("A", shell.Hibernated, shell.Requested)
		if now := r.Losses(); len(now) > 0 {
			t.Errorf("the host still tells %+v", now)
		}
		r.must(r.shell("A").Activate(r.Context(), shell.Requested))
		r.journal.read()
	})
}

// What passes is no loss.
func TestPassingFailureIsNoLoss(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		r.plugins["A"].sleeps()
		r.activate("A")
		r.must(r.shell("A").Hibernate(r.Context(), shell.Requested, 0))
		r.plugins["A"].failWakes(errors.New("memory is short"))
		if err := r.shell("A").Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrHibernated) {
			t.Errorf("got %v", err)
		}
		if now := r.Losses(); len(now) > 0 {
			t.Errorf("the host tells %+v", now)
		}
	})
}

// Only the latest losses of an instance are told, and none of a destroyed clone.
func TestLossesAreBounded(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, func(r *rig) {
		r.must(r.Clone(r.Context(), "A", "B"))
		for i := range maxLosses + 3 {
			r.losses.note(Loss{Callsign: "B", At: time.Now(), Generation: uint64(i + 1)})
		}
		if got := r.LossesOf("B"); len(got) != maxLosses || got[0].Generation != 4 {
			t.Errorf("got %d losses from generation %d on", len(got), got[0].Generation)
		}
		r.losses.noteOfShell(shell.Loss{Callsign: "B", At: time.Now(), Cause: errors.New(strings.Repeat("é", maxLossCause))})
		if cause := r.LossesOf("B")[maxLosses-1].Cause; len(cause) > maxLossCause+len("…") || !strings.HasSuffix(cause, "é…") {
			t.Errorf("the cause has %d bytes and ends in %q", len(cause), cause[len(cause)-8:])
		}
		r.must(r.Destroy(r.Context(), "B"))
		if got := r.Losses(); len(got) > 0 {
			t.Errorf("got %+v of a destroyed clone", got)
		}
	})
}
