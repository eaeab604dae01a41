package shell

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
)

// The steps of a fake that can begin warm.
const (
	warming    = "warm"
	preserving = "make golden"
	skipping   = "skip golden"
	dropping   = "invalidate golden"
)

// warmFake is a fake with a golden image once it was preserved.
type warmFake struct {
	*fake
	golden, from *GoldenImage
}

func (w *warmFake) StartWarm(ctx context.Context) (Information, error) {
	defer w.alone(warming)()
	if w.golden == nil {
		return Information{}, fmt.Errorf("%w: there is none", ErrCold)
	}
	w.begin(warming)
	if err := errors.Join(w.at(ctx, warming, ""), w.up()); err != nil {
		w.mu.Lock()
		w.alive, w.started = false, false
		w.mu.Unlock()
		w.reports.Wait()
		return Information{}, err
	}
	w.control.set(w.control.first)
	w.from = w.golden
	return w.information(), nil
}

func (w *warmFake) StartedFrom() *GoldenImage { return w.from }

func (w *warmFake) MakeGolden(ctx context.Context) error {
	defer w.alone(preserving)()
	w.from = nil
	if err := errors.Join(w.at(ctx, preserving, ""), w.up()); err != nil {
		return err
	}
	w.golden = &GoldenImage{Generation: 7}
	return nil
}

func (w *warmFake) SkipGolden() {
	w.from = nil
	_ = w.at(context.Background(), skipping, "")
}

func (w *warmFake) InvalidateGolden(error) {
	_ = w.at(context.Background(), dropping, "")
	w.golden = nil
}

func (w *warmFake) Golden() (*GoldenImage, error) {
	if w.golden == nil {
		return nil, hibernate.ErrNoImage
	}
	return w.golden, nil
}

// runWarm is run for an instance that is to be started warm.
func runWarm(t *testing.T, test func(*rig, *warmFake)) {
	t.Helper()
	var w *warmFake
	s := setup{
		config: func(c *configs.Plugin) { c.WarmStart = true },
		wrap: func(f *fake) Backend {
			w = &warmFake{fake: f}
			return w
		},
	}
	run(t, s, func(r *rig) { test(r, w) })
}

var (
	coldSteps     = []string{launch, initialize, preserving, asking}
	doubtfulSteps = []string{launch, initialize, skipping, asking}
	warmSteps     = []string{warming, asking}
)

// starts activates the instance and compares how.
func (r *rig) starts(want ...string) {
	r.Helper()
	r.forget()
	r.must(r.Activate(r.Context(), Requested))
	r.expectSteps(want...)
}

func (r *rig) down() {
	r.Helper()
	r.must(r.Deactivate(r.Context(), Requested))
}

// fall is an end that nobody asked for.
func (r *rig) fall() {
	r.Helper()
	background(func() error { r.fake.die(); return nil })
	if s := r.State(); s != Deactivated {
		r.Fatalf("it is %s", s)
	}
}

func TestWarmStart(t *testing.T) {
	runWarm(t, func(r *rig, _ *warmFake) {
		r.starts(coldSteps...)
		if st := r.Status(); st.StartedFrom != nil {
			r.Errorf("it began from %+v", st.StartedFrom)
		}
		r.down()
		r.starts(warmSteps...)
		r.expect(
			"activate: deactivated > activation, requested",
			"suspend: activation is suspended",
			"activate: activation > activated, requested",
		)
		if st := r.Status(); st.StartedFrom == nil || st.StartedFrom.Generation != 7 {
			r.Errorf("it began from %+v", st.StartedFrom)
		}
		r.hibernateNow()
		r.must(r.Activate(r.Context(), Requested))
		if st := r.Status(); st.StartedFrom == nil {
			r.Error("a sleep has made its beginning cold")
		}
		r.down()
		if st := r.Status(); st.StartedFrom != nil {
			r.Errorf("it does not run, and began from %+v", st.StartedFrom)
		}
	})
}

// Whatever goes wrong with the image, the same activation starts the plugin cold.
func TestWarmStartFails(t *testing.T) {
	for step, want := range map[string][]string{
		warming: {warming, dropping},
		asking:  {warming, asking, stop, dropping},
	} {
		t.Run(step, func(t *testing.T) {
			runWarm(t, func(r *rig, w *warmFake) {
				r.starts(coldSteps...)
				r.down()
				r.fake.mu.Lock()
				first := true
				r.fake.chaos = func(at string) (err error) {
					if at == step && first {
						first, err = false, errBroken
					}
					return err
				}
				r.fake.mu.Unlock()
				r.starts(append(want, doubtfulSteps...)...)
				if image, why := r.Golden(); image != nil || !errors.Is(why, errBroken) {
					r.Errorf("its golden image is %v: %v", image, why)
				}
				if st := r.Status(); st.StartedFrom != nil || st.Err != nil || w.golden != nil {
					r.Errorf("it is %+v", st)
				}
			})
		})
	}
}

// The end of the process that was given up is not that of the one in its place.
func TestWarmStartDies(t *testing.T) {
	runWarm(t, func(r *rig, _ *warmFake) {
		r.starts(coldSteps...)
		r.down()
		g := r.fake.hold(warming)
		done := background(func() error { return r.Activate(r.Context(), Requested) })
		r.fake.die()
		g.open()
		r.must(<-done)
		synctest.Wait()
		if s := r.State(); s != Activated {
			r.Errorf("it is %s", s)
		}
		r.must(r.invoke(r.Context(), ""))
	})
}

// A plugin that fails soon after a warm start is started cold, and has no image again
// before it has lasted.
func TestPoisonedGoldenImage(t *testing.T) {
	runWarm(t, func(r *rig, _ *warmFake) {
		window := time.Duration(r.Config().Restart.Window)
		r.starts(coldSteps...)
		r.fall() // which says nothing of an image that it did not begin from
		r.starts(warmSteps...)
		pass(window - time.Second)
		r.fall()
		r.starts(doubtfulSteps...)
		r.down()
		r.starts(doubtfulSteps...)
		if _, why := r.Golden(); !errors.Is(why, errKilled) {
			r.Errorf("there is no golden image since %v", why)
		}
		pass(window)
		r.fall()
		r.starts(coldSteps...)
		r.fall()
		r.starts(warmSteps...)
		pass(window)
		r.fall()
		r.starts(warmSteps...)
		r.must(r.Deactivate(r.Context(), WatchdogExpired))
		r.starts(doubtfulSteps...)
	})
}

// An image that can't be made is no reason not to start.
func TestPreserveFails(t *testing.T) {
	runWarm(t, func(r *rig, _ *warmFake) {
		r.fake.fail(preserving, errBroken)
		r.starts(coldSteps...)
		r.down()
		r.starts(coldSteps...)
		r.down()
		r.fake.fail(preserving, errKilled)
		r.starts(append([]string{launch, initialize, preserving, stop}, doubtfulSteps...)...)
		if _, why := r.Golden(); !errors.Is(why, errKilled) {
			r.Errorf("there is no golden image since %v", why)
		}
	})
}

// It has its own time, which is not that of the start.
func TestPreserveTakesLong(t *testing.T) {
	runWarm(t, func(r *rig, _ *warmFake) {
		g := r.fake.hold(preserving)
		done := background(func() error { return r.Activate(r.Context(), Requested) })
		<-g.reached
		pass(3 * time.Duration(r.Config().StartTimeout))
		if !pending(done) {
			r.Error("it was not waited for")
		}
		pass(hibernateTimeout)
		r.must(<-done)
	})
}
