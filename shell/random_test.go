package shell_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

var seed = flag.Uint64("seed", 0, "run TestRandomEvents with this seed only")

// refusals are all that an operation or call may be answered with. Anything
// else is a mistake of the shell.
var refusals = []error{
	shell.ErrIllegalState, shell.ErrUnavailable, shell.ErrNotAnswered, shell.ErrHibernated, shell.ErrInProgress, shell.ErrTimedOut, shell.ErrNoStateControl,
	shell.ErrPending, shell.ErrInstantiation, shell.ErrInitialization, shell.ErrExited, shell.ErrBusy, errBroken, context.Canceled,
}

// TestRandomEvents lets several goroutines do what they like with one instance,
// whose plugin fails and dies as it likes. What each of them does follows from
// the seed; how they meet does not.
func TestRandomEvents(t *testing.T) {
	const users, each, seeds = 6, 80, 40
	first, last := uint64(1), uint64(seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 0))
			config := func(c *configs.Plugin) {
				c.OnCall = pick(dice, configs.OnCallReject, configs.OnCallWake)
				c.OnFailedWake = pick(dice, configs.FailedWakeColdStart, configs.FailedWakeKeep, configs.FailedWakeDeactivate)
				c.StartMode = pick(dice, configs.StartDeactivated, configs.StartActivated, configs.StartUnavailable)
			}
			run(t, setup{config: config, noControl: dice.IntN(8) == 0, hibernated: dice.IntN(4) == 0, probe: dice.IntN(2) == 0}, func(r *rig) {
				r.fake.OnAction = chaos(r.fake, seed)
				r.fake.InPlace = seed%2 == 0
				done := make(chan struct{})
				var acting, watching sync.WaitGroup
				for n := range users {
					acting.Go(func() {
						u := &user{r, rand.New(rand.NewPCG(seed, uint64(n)+1)), n}
						for i := range each {
							if what, err := u.act(i); err != nil && !slices.ContainsFunc(refusals, func(known error) bool { return errors.Is(err, known) }) {
								r.Errorf("%s: %v", what, err)
							}
						}
					})
				}
				watching.Go(func() {
					for {
						for _, wrong := range contradictions(r.Status()) {
							r.Error(wrong)
						}
						select {
						case <-done:
							return
						default:
						}
					}
				})
				acting.Wait()
				close(done)
				watching.Wait()
				synctest.Wait()

				st := r.Status()
				if st.State == shell.Activated && st.Figures.PID == 0 {
					r.Errorf("it is activated without a process; history:\n%s", history(st))
				}
				if resting := []shell.State{shell.Activated, shell.Deactivated, shell.Unavailable, shell.Precondition, shell.Hibernated, shell.Destroyed}; !slices.Contains(resting, st.State) {
					r.Errorf("it is %s with nothing left to do; history:\n%s", st.State, history(st))
				}
				if st.State == shell.Precondition && st.Err == nil {
					r.Errorf("it waits for nothing; history:\n%s", history(st))
				}
				if st.State == shell.Activated && r.requirements.MayStayActive(shell.Information{}) != nil {
					r.Errorf("it is activated with its conditions lost; history:\n%s", history(st))
				}
				if n := r.LaneStatus().Held; n != 0 {
					r.Errorf("%d calls still count as held", n)
				}
				if calls, streams := r.InFlight(); calls+streams != 0 {
					r.Errorf("%d calls and %d streams still count as in flight", calls, streams)
				}
			})
		})
	}
}

func pick[T any](dice *rand.Rand, from ...T) T { return from[dice.IntN(len(from))] }

// chaos makes some actions fail and the plugin die in some.
func chaos(f *shelltest.Plugin, seed uint64) func(ctx context.Context, action, detail string) error {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 1<<32))
	return func(_ context.Context, action, _ string) error {
		mu.Lock()
		n := dice.IntN(100)
		mu.Unlock()
		switch {
		case n < 6:
			return errBroken
		case n < 9 && action != shelltest.Stop:
			f.Kill()
		case n < 10:
			return shelltest.ErrKilled // it only seems so
		}
		return nil
	}
}

// user is one of those who use an instance at the same time.
type user struct {
	r      *rig
	dice   *rand.Rand
	number int
}

func (u *user) act(i int) (what string, err error) {
	r, ctx := u.r, context.Background()
	if u.dice.IntN(10) == 0 { // an impatient one
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go cancel()
	}
	why := pick(u.dice, shell.Requested, shell.Automatic, shell.Conditions)
	switch n := u.dice.IntN(400); {
	case n == 0:
		return "destroy", r.Destroy(ctx, why)
	case n < 15:
		r.requirements.set(nil, nil)
		return "conditions met", r.ActivateIfWaiting(context.Background())
	case n < 25:
		r.requirements.set(errAbsent, nil)
	case n < 35:
		r.requirements.set(errAbsent, errAbsent)
		return "conditions lost", r.DeactivateIfRequirementsLost(context.Background())
	case n < 40:
		return "probe", r.ProbeProgram(ctx)
	case n < 80:
		stream, err := r.Conn().NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/s/m")
		if err != nil {
			return "stream", err
		}
		last := u.dice.IntN(1000)
		go func() {
			for range last {
				runtime.Gosched()
			}
			_ = stream.CloseSend()
		}()
		if err = stream.RecvMsg(nil); errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			err = nil // it ended, or its user left
		}
		return "stream", err
	}
	switch n := u.dice.IntN(100); {
	case n < 20:
		return "activate", r.Activate(ctx, why)
	case n < 28:
		return "deactivate", r.Deactivate(ctx, why)
	case n < 30:
		return "unavailable", r.MakeUnavailable(ctx, why)
	case n < 38:
		return "suspend", r.Suspend(ctx, why)
	case n < 45:
		return "resume", r.Resume(ctx, why)
	case n < 62:
		if r.fake.InPlace && u.dice.IntN(3) == 0 {
			return "move to disk", r.MoveToDisk(ctx, why, time.Duration(u.dice.IntN(3))*time.Second)
		}
		return "hibernate", r.Hibernate(ctx, why, time.Duration(u.dice.IntN(3))*time.Second)
	case n < 65:
		r.fake.Kill()
		return "die", nil
	case n < 66:
		if u.dice.IntN(4) == 0 {
			return "restart", r.Restart(ctx, why)
		}
		return "replace", r.Replace(ctx, why, r.Config(), func(ctx context.Context) error {
			if u.dice.IntN(4) == 0 {
				return errBroken
			}
			return ctx.Err()
		})
	case n < 67:
		return "configure", r.Configure(ctx, r.Config())
	case n < 68:
		r.AdjustConfig(r.Config())
		return "adjust", nil
	case n < 72:
		if r.fake.Control != nil {
			r.fake.Control.ChangeByItself(pick(u.dice, statecontrol.Suspended, statecontrol.Resumed, statecontrol.Exited))
		}
		return "turn", nil
	default:
		index := fmt.Sprintf("%d.%d", u.number, i)
		err := r.invoke(ctx, index)
		if n := r.fake.CountDeliveredCalls(index); n > 1 || err == nil && n == 0 {
			r.Errorf("call %s was delivered %d times and answered with error %v", index, n, err)
		}
		return "invoke", err
	}
}

func history(st shell.Status) (lines string) {
	for _, t := range st.History {
		lines += line(t) + "\n"
	}
	return lines
}

func TestHistoryIsBounded(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		for range shell.HistoryLength {
			r.activate()
			r.must(r.Deactivate(r.Context(), shell.Requested))
		}
		st := r.Status()
		if len(st.History) != shell.HistoryLength {
			r.Errorf("%d transitions are remembered, want %d", len(st.History), shell.HistoryLength)
		}
		for i, got := range st.History {
			if want := r.seen.all[len(r.seen.all)-shell.HistoryLength+i]; line(got) != line(want) {
				r.Errorf("transition %d is %q, want %q", i, line(got), line(want))
			}
		}
	})
}
