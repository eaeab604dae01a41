package shell_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

func startsResumed(c *configs.Plugin) { c.StartMode = configs.StartActivated }

func (r *rig) expectControl(want statecontrol.State, idled bool) {
	r.Helper()
	synctest.Wait()
	if use := r.UseStatus(); use.Control != want || use.IdleSuspended != idled {
		r.Errorf("it is %s, idled %t; want %s, %t", use.Control, use.IdleSuspended, want, idled)
	}
}

func TestUse(t *testing.T) {
	run(t, setup{config: startsResumed}, func(r *rig) {
		r.activate()
		begun := time.Now()
		pass(time.Minute)
		if use := r.UseStatus(); !use.AwakeSince.Equal(begun) || !use.LastUse.Equal(begun) || !use.CanHibernate {
			r.Errorf("got %+v, want %s", use, begun)
		}
		gate := r.fake.Hold(shelltest.Invoke)
		answered := background(func() error { return r.invoke(r.Context(), "") })
		if use := r.UseStatus(); use.Calls != 1 || !use.LastUse.Equal(begun) {
			r.Errorf("got %+v", use)
		}
		pass(time.Second)
		gate.Open()
		r.must(<-answered)
		if use := r.UseStatus(); use.Calls != 0 || !use.LastUse.Equal(time.Now()) {
			r.Errorf("got %+v", use)
		}
		stream, ended := r.stream(r.Context())
		pass(time.Second)
		if use := r.UseStatus(); use.Streams != 1 {
			r.Errorf("got %+v", use)
		}
		r.must(stream.CloseSend())
		if err := <-ended; !errors.Is(err, io.EOF) {
			r.Errorf("the stream ends with %v", err)
		}
		if use := r.UseStatus(); use.Streams != 0 || !use.LastUse.Equal(time.Now()) {
			r.Errorf("got %+v", use)
		}
		pass(time.Second)
		r.must(r.Suspend(r.Context(), shell.Requested))
		if use := r.UseStatus(); !use.LastUse.Equal(time.Now()) {
			r.Errorf("a request is no use: %+v", use)
		}
	})
}

func TestSuspendedIdleIsResumed(t *testing.T) {
	idled := func(r *rig) {
		r.Helper()
		r.activate()
		pass(time.Minute)
		last := r.UseStatus().LastUse
		r.must(r.SuspendIdle(r.Context(), last))
		r.expectControl(statecontrol.Suspended, true)
		if got := r.UseStatus().LastUse; !got.Equal(last) {
			r.Errorf("the host's own suspension counts as use")
		}
	}
	t.Run("by a call", func(t *testing.T) {
		run(t, setup{config: startsResumed}, func(r *rig) {
			idled(r)
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Resumed, false)
		})
	})
	t.Run("by a wake", func(t *testing.T) {
		run(t, setup{config: func(c *configs.Plugin) { startsResumed(c); wakeOnCall(c) }}, func(r *rig) {
			idled(r)
			r.must(r.HibernateIdle(r.Context(), r.UseStatus().LastUse))
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Resumed, false)
		})
	})
	t.Run("of the host before", func(t *testing.T) {
		run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
			r.NoteIdleSuspended()
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Resumed, false)
		})
	})
	t.Run("but not by looking at it", func(t *testing.T) {
		run(t, setup{config: startsResumed}, func(r *rig) {
			idled(r)
			_, _ = r.Exists(r.Context(), "echo")
			_ = r.CheckHealth(r.Context())
			r.expectControl(statecontrol.Suspended, true)
		})
	})
	t.Run("nor when a client wants it suspended", func(t *testing.T) {
		run(t, setup{config: startsResumed}, func(r *rig) {
			idled(r)
			if err := r.Suspend(r.Context(), shell.Requested); !errors.Is(err, shell.ErrIllegalState) {
				r.Errorf("got error %v", err)
			}
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Suspended, false)
		})
	})
	t.Run("nor what never was", func(t *testing.T) {
		run(t, setup{config: wakeOnCall}, func(r *rig) {
			r.activate()
			r.must(r.HibernateIdle(r.Context(), r.UseStatus().LastUse))
			r.must(r.invoke(r.Context(), ""))
			r.expectControl(statecontrol.Suspended, false)
		})
	})
}

// TestCallsGoFirst lets a call come at each moment at which an idle instance is
// about to be put to sleep.
func TestCallsGoFirst(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		run(t, setup{config: startsResumed}, func(r *rig) {
			r.activate()
			seen := r.UseStatus()
			pass(time.Minute)
			r.must(r.invoke(r.Context(), ""))
			if err := r.SuspendIdle(r.Context(), seen.LastUse); !errors.Is(err, shell.ErrInUse) {
				r.Errorf("got error %v, want ErrInUse", err)
			}
			if err := r.HibernateIdle(r.Context(), seen.LastUse); !errors.Is(err, shell.ErrInUse) {
				r.Errorf("got error %v, want ErrInUse", err)
			}
			r.expect()
		})
	})
	t.Run("under way", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			gate := r.fake.Hold(shelltest.Invoke)
			answered := background(func() error { return r.invoke(r.Context(), "") })
			if err := r.HibernateIdle(r.Context(), time.Now()); !errors.Is(err, shell.ErrInUse) {
				r.Errorf("got error %v, want ErrInUse", err)
			}
			r.expect()
			gate.Open()
			r.must(<-answered)
		})
	})
	t.Run("while it is suspended", func(t *testing.T) {
		run(t, setup{config: startsResumed}, func(r *rig) {
			r.activate()
			gate := r.fake.Hold(string(statecontrol.Suspend))
			done := background(func() error { return r.SuspendIdle(r.Context(), time.Now()) })
			pass(time.Millisecond)
			r.must(r.invoke(r.Context(), ""))
			gate.Open()
			if err := <-done; !errors.Is(err, shell.ErrInUse) {
				r.Errorf("got error %v, want ErrInUse", err)
			}
			r.expectControl(statecontrol.Resumed, false)
		})
	})
	t.Run("in the last moment", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			r.SetObserver(meanwhile{r.seen, func(tr shell.Transition) {
				if tr.To == shell.Hibernating {
					r.EnterCall()
				}
			}})
			if err := r.HibernateIdle(r.Context(), time.Now()); !errors.Is(err, shell.ErrInUse) {
				r.Errorf("got error %v, want ErrInUse", err)
			}
			if got := r.State(); got != shell.Activated {
				r.Errorf("it is %s", got)
			}
			r.LeaveCall()
			r.expectActions()
		})
	})
}

// meanwhile is an observer that does something at a transition.
type meanwhile struct {
	shell.Observer
	do func(shell.Transition)
}

func (m meanwhile) Transition(t shell.Transition) {
	m.Observer.Transition(t)
	m.do(t)
}

// pass lets the bubble's clock go on.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
