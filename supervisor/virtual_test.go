package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/webpb"
	"dormouse/statecontrol"
)

// parents are two instances that can be hibernated, and one that is not started.
var parents = []instance{
	{"P", configs.StartActivated, 1, (*plugin).sleeps},
	{"Q", configs.StartActivated, 2, (*plugin).sleeps},
	{"Down", configs.StartDeactivated, 3, nil},
}

// create makes a virtual plugin.
func (r *rig) create(parent, callsign string) {
	r.Helper()
	if err := r.CreateVirtual(r.Context(), parent, Virtual{Callsign: callsign, Configuration: json.RawMessage(`{"of": "` + callsign + `"}`)}); err != nil {
		r.Fatal(err)
	}
}

// stateOrNone returns the state of an instance, "" if it does not exist.
func (r *rig) stateOrNone(callsign string) shell.State {
	sh, ok := r.Shell(callsign)
	if !ok {
		return ""
	}
	return sh.State()
}

// expectIs fails the test unless the instance is in that state.
func (r *rig) expectIs(callsign string, want shell.State) {
	r.Helper()
	if got := r.stateOrNone(callsign); got != want {
		r.Errorf("%s is %q, want %q", callsign, got, want)
	}
}

// putToSleep hibernates a plugin.
func (r *rig) putToSleep(callsign string) error {
	sh := r.shell(callsign)
	if _, control := sh.StateAndControl(); control == statecontrol.Resumed {
		if err := sh.Suspend(r.Context(), shell.Requested); err != nil {
			return err
		}
	}
	return sh.Hibernate(r.Context(), shell.Requested, 0)
}

// rosterEar hears the changes of the roster.
type rosterEar struct {
	ear
	heard []string
}

func (*rosterEar) Transition(shell.Transition) {}
func (e *rosterEar) Notification(to string, n shell.Notification) {
	e.heard = append(e.heard, to+" "+n.Event)
}
func (e *rosterEar) Roster(c RosterChange) {
	e.heard = append(e.heard, strings.TrimSpace(fmt.Sprintf("%s %s %s", c.Kind, c.Callsign, c.Parent)))
}

// transitionEar hears transitions, and nothing else.
type transitionEar struct {
	ear
	listen func(shell.Transition)
}

func (transitionEar) Notification(string, shell.Notification) {}

func (e transitionEar) Transition(t shell.Transition) { e.listen(t) }

// take returns what was heard since the last time.
func (e *rosterEar) take() []string {
	heard := e.heard
	e.heard = nil
	return heard
}

func TestVirtualFollowsItsParent(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		r.create("Down", "Waiting")
		r.expectIs("C", shell.Activated)
		r.expectIs("Waiting", shell.Precondition)
		p := r.shell("P")
		for _, step := range []struct {
			name string
			do   func() error
			want shell.State
		}{
			{"hibernate", func() error { return r.putToSleep("P") }, shell.Hibernated},
			{"wake", func() error { return p.Activate(ctx, shell.Requested) }, shell.Activated},
			{"hibernate", func() error { return r.putToSleep("P") }, shell.Hibernated},
			{"wake by the virtual plugin", func() error { return r.shell("C").Activate(ctx, shell.Requested) }, shell.Activated},
			{"restart", func() error { return p.Restart(ctx, shell.Requested) }, shell.Activated},
			{"deactivate", func() error { return p.Deactivate(ctx, shell.Requested) }, shell.Precondition},
			{"activate", func() error { return p.Activate(ctx, shell.Requested) }, shell.Activated},
			{"crash", func() error { r.plugins["P"].Kill(); synctest.Wait(); return nil }, shell.Precondition},
			{"activate", func() error { return p.Activate(ctx, shell.Requested) }, shell.Activated},
			{"hibernate", func() error { return r.putToSleep("P") }, shell.Hibernated},
			{"give up the image", func() error { return p.EvictImage(ctx, errors.New("room")) }, shell.Precondition},
			{"activate", func() error { return p.Activate(ctx, shell.Requested) }, shell.Activated},
		} {
			r.must(step.do())
			if r.expectIs("C", step.want); r.Failed() {
				r.Fatalf("after %s", step.name)
			}
		}
		r.expectIs("Waiting", shell.Precondition)
		if err := r.shell("Waiting").Activate(ctx, shell.Requested); !errors.Is(err, shell.ErrPending) || !strings.Contains(err.Error(), "Down") {
			r.Errorf("without its parent it was activated: %v", err)
		}
		r.must(r.shell("Down").Activate(ctx, shell.Requested))
		r.expectIs("Waiting", shell.Activated)
	})
}

// Each transition of a virtual plugin is one of the lifecycle table.
func TestVirtualTakesStepsOfTheTable(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		var heard []string
		defer r.Listen(transitionEar{listen: func(t shell.Transition) {
			if t.Callsign != "C" {
				return
			}
			heard = append(heard, fmt.Sprintf("%s %s %s", t.Event, t.From, t.To))
			if !slices.ContainsFunc(shell.Lifecycle, func(row shell.Row) bool {
				return row.Event == t.Event && (row.From == t.From || row.During == t.From) && (row.During == t.To || row.Then == t.To)
			}) {
				r.Errorf("no row has %s from %s to %s", t.Event, t.From, t.To)
			}
		}})()
		p := r.shell("P")
		r.must(r.putToSleep("P"))
		r.must(p.Activate(r.Context(), shell.Requested))
		r.must(r.putToSleep("P"))
		r.must(p.EvictImage(r.Context(), errors.New("room")))
		want := []string{
			"hibernate activated hibernating", "hibernate hibernating hibernated", "wake hibernated waking", "wake waking activated",
			"hibernate activated hibernating", "hibernate hibernating hibernated", "evict hibernated deactivated", "await deactivated precondition",
		}
		if diff := cmp.Diff(want, heard); diff != "" {
			r.Errorf("wrong transitions (-want +got):\n%s", diff)
		}
	})
}

func TestVirtualRefusals(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		r.must(r.CreateVirtual(ctx, "P", Virtual{Callsign: "D", Profile: shell.Profile{Name: "d", Version: "1.2.3"}}))
		for _, test := range []struct {
			name, parent string
			v            Virtual
			want         error
		}{
			{"the same again", "P", Virtual{Callsign: "C", Configuration: json.RawMessage(` {"of":"C"}`)}, nil},
			{"another definition", "P", Virtual{Callsign: "C"}, ErrExists},
			{"of another parent", "Q", Virtual{Callsign: "C", Configuration: json.RawMessage(`{"of":"C"}`)}, ErrExists},
			{"in another case", "P", Virtual{Callsign: "c"}, ErrExists},
			{"an instance's", "P", Virtual{Callsign: "q"}, ErrExists},
			{"a built-in's", "P", Virtual{Callsign: "First"}, ErrExists},
			{"its own", "P", Virtual{Callsign: "P"}, ErrExists},
			{"name and version of another", "Q", Virtual{Callsign: "E", Profile: shell.Profile{Name: "d", Version: "1.2.3"}}, ErrExists},
			{"another version of that name", "Q", Virtual{Callsign: "E", Profile: shell.Profile{Name: "d", Version: "1.2.4"}}, nil},
			{"name and version of a program", "Q", Virtual{Callsign: "F", Profile: shell.Profile{Name: "Fake"}}, ErrExists},
			{"child of a child", "C", Virtual{Callsign: "G"}, ErrNoParent},
			{"child of a part of the host", "First", Virtual{Callsign: "G"}, ErrNoParent},
			{"child of nothing", "Nothing", Virtual{Callsign: "G"}, ErrUnknown},
			{"no callsign", "P", Virtual{Callsign: "a/b"}, ErrBadVirtual},
			{"reserved", "P", Virtual{Callsign: configs.ControllerCallsign}, ErrBadVirtual},
			{"no object", "P", Virtual{Callsign: "G", Configuration: json.RawMessage(`[1]`)}, ErrBadVirtual},
			{"large configuration", "P", Virtual{Callsign: "G", Configuration: json.RawMessage(`{"a":"` + strings.Repeat("x", 64<<10) + `"}`)}, ErrBadVirtual},
			{"large profile", "P", Virtual{Callsign: "G", Profile: shell.Profile{Description: strings.Repeat("x", 256<<10)}}, ErrBadVirtual},
			{"broken schema", "P", Virtual{Callsign: "G", Profile: shell.Profile{Entry: &shell.EntryPoint{Schema: json.RawMessage("{")}}}, ErrBadVirtual},
		} {
			if err := r.CreateVirtual(ctx, test.parent, test.v); !errors.Is(err, test.want) {
				r.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
		}
		if err := r.UpdateVirtual(ctx, "Q", Virtual{Callsign: "C"}); !errors.Is(err, ErrUnknown) {
			r.Errorf("another's virtual plugin was changed: %v", err)
		}
		if err := r.UpdateVirtual(ctx, "P", Virtual{Callsign: "C", Profile: shell.Profile{Name: "d", Version: "1.2.3"}}); !errors.Is(err, ErrExists) {
			r.Errorf("it got the name and version of another: %v", err)
		}
		if err := r.RemoveVirtual(ctx, "Q", "C"); !errors.Is(err, ErrUnknown) {
			r.Errorf("another's virtual plugin was removed: %v", err)
		}
		r.must(r.RemoveVirtual(ctx, "P", "Nothing"))
		for name, err := range map[string]error{
			"clone":     r.Clone(ctx, "C", "New"),
			"clone to":  r.Clone(ctx, "P", "c"),
			"configure": r.Configure(ctx, "C", json.RawMessage(`{}`)),
			"suspend":   r.shell("C").Suspend(ctx, shell.Requested),
			"hibernate": r.shell("C").Hibernate(ctx, shell.Requested, 0),
		} {
			if err == nil {
				r.Errorf("cannot refuse to %s", name)
			}
		}
		plugins := []configs.Plugin{r.shell("P").Config(), r.shell("Q").Config(), {Callsign: "C"}}
		if _, err := r.Reload(ctx, plugins); !errors.Is(err, ErrExists) {
			r.Errorf("the configuration took the callsign: %v", err)
		}
	})
}

func TestTooManyVirtuals(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		for i := range 10_000 {
			err := r.CreateVirtual(r.Context(), "P", Virtual{Callsign: fmt.Sprintf("C%d", i)})
			if i < MaxVirtuals && err != nil || i >= MaxVirtuals && !errors.Is(err, ErrTooManyVirtuals) {
				r.Fatalf("number %d: %v", i, err)
			}
		}
		r.create("Q", "Other")
		r.must(r.RemoveVirtual(r.Context(), "P", "C7"))
		r.create("P", "Again")
	})
}

func TestVirtualChangesAreTold(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		var e rosterEar
		defer r.Listen(&e)()
		r.create("P", "C")
		r.create("P", "C")
		r.must(r.UpdateVirtual(ctx, "P", Virtual{Callsign: "C", Profile: shell.Profile{Name: "n", Version: "2.1.3-beta", Tags: []string{"t"}}}))
		r.must(r.UpdateVirtual(ctx, "P", Virtual{Callsign: "C", Profile: shell.Profile{Name: "n", Version: "2.1.3-beta", Tags: []string{"t"}}}))
		about := r.shell("C").BriefStatus().Information
		if about.Class != "n" || about.Version != (shell.Version{Major: 2, Minor: 1, Patch: 3}) || !slices.Equal(about.Profile.Tags, []string{"t"}) {
			r.Errorf("it is described as %+v", about)
		}
		r.must(r.Clone(ctx, "P", "K"))
		r.must(r.Destroy(ctx, "K"))
		r.must(r.RemoveVirtual(ctx, "P", "C"))
		want := []string{"created C P", "changed C P", "created K", "removed K", "removed C P"}
		if diff := cmp.Diff(want, e.take()); diff != "" {
			r.Errorf("wrong changes (-want +got):\n%s", diff)
		}
	})
}

// Events that name a virtual plugin are its own; those of another's are dropped.
func TestVirtualEvents(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		r.create("Q", "D")
		var e rosterEar
		defer r.Listen(&e)()
		p := r.shell("P")
		p.Notify(shell.Notification{Event: "own"})
		p.Notify(shell.Notification{Event: "virtual", Callsign: "C"})
		p.Notify(shell.Notification{Event: "forged", Callsign: "D"})
		p.Notify(shell.Notification{Event: "forged", Callsign: "Nothing"})
		if diff := cmp.Diff([]string{"P own", "C virtual"}, e.take()); diff != "" {
			r.Errorf("wrong events (-want +got):\n%s", diff)
		}
	})
}

// parentConn answers what a parent is asked.
type parentConn struct {
	grpc.ClientConnInterface
	answer func(*shellpb.OperateVirtualRequest) error
}

func (c parentConn) Invoke(_ context.Context, _ string, args, _ any, _ ...grpc.CallOption) error {
	return c.answer(args.(*shellpb.OperateVirtualRequest)) //nolint:errcheck // the test asks nothing else
}

// webConn answers no request, and keeps of which instance the last one was.
type webConn struct {
	grpc.ClientConnInterface
	asked *string
}

func (c webConn) NewStream(ctx context.Context, _ *grpc.StreamDesc, _ string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	md, _ := metadata.FromOutgoingContext(ctx)
	*c.asked = strings.Join(md[shellpb.CallsignKey], " ")
	return nil, status.Error(codes.Unavailable, "not now")
}

// TestWebOfVirtual has the parent answer HTTP requests for its virtual plugin.
func TestWebOfVirtual(t *testing.T) {
	asked := ""
	instances := slices.Clone(parents)
	instances[0].change = func(p *plugin) {
		p.Info.Services, p.Connection = []string{webpb.Web_ServiceDesc.ServiceName}, webConn{asked: &asked}
	}
	run(t, instances, func(r *rig) {
		r.Start(r.Context())
		r.create("P", "P.one")
		r.create("Q", "Q.one")
		sh, _ := r.Shell("P.one")
		endpoint, ok := sh.Endpoint("GET", "x")
		if !ok {
			r.Fatal("it answers no request")
		}
		answer := httptest.NewRecorder()
		endpoint.ServeHTTP(answer, httptest.NewRequestWithContext(r.Context(), "GET", "/Service/P.one/x", nil))
		if answer.Code != 503 || !strings.Contains(answer.Body.String(), "P.one: not now") || asked != "P.one" {
			r.Errorf("%d %s, asked of %q", answer.Code, answer.Body, asked)
		}
		if other, _ := r.Shell("Q.one"); other.HasEndpoints() {
			r.Error("one whose parent has no Web has endpoints")
		}
	})
}

func TestParentIsAsked(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		var asked []string
		var refusal error
		r.plugins["P"].Connection = parentConn{answer: func(q *shellpb.OperateVirtualRequest) error {
			asked = append(asked, q.GetCallsign()+" "+strings.ToLower(strings.TrimPrefix(q.GetOperation().String(), "VIRTUAL_OPERATION_")))
			return refusal
		}}
		c := r.shell("C")
		expectAsked := func(want ...string) {
			r.Helper()
			if diff := cmp.Diff(want, asked); diff != "" {
				r.Errorf("it was asked something else (-want +got):\n%s", diff)
			}
			asked = nil
		}
		refusal = status.Error(codes.PermissionDenied, "not now")
		for name, err := range map[string]error{"deactivate": c.Deactivate(ctx, shell.Requested), "destroy": r.Destroy(ctx, "C")} {
			if !errors.Is(err, shell.ErrRefused) || !strings.Contains(err.Error(), "not now") {
				r.Errorf("the parent refused to %s: %v", name, err)
			}
		}
		refusal = status.Error(codes.Unimplemented, "")
		if err := c.Restart(ctx, shell.Requested); !errors.Is(err, shell.ErrRefused) {
			r.Errorf("the parent takes no operations: %v", err)
		}
		asked, refusal = nil, nil
		r.expectIs("C", shell.Activated)
		r.must(c.Deactivate(ctx, shell.Requested))
		r.expectIs("C", shell.Deactivated)
		if _, err := c.Invoke(ctx, shell.Call{Method: "echo"}); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("a deactivated one was called: %v", err)
		}
		r.must(c.MakeUnavailable(ctx, shell.Requested))
		r.must(c.Deactivate(ctx, shell.Requested))
		expectAsked("C deactivate", "C unavailable", "C deactivate")
		r.must(r.shell("P").Restart(ctx, shell.Requested))
		r.expectIs("C", shell.Deactivated)
		r.must(c.Activate(ctx, shell.Requested))
		r.expectIs("C", shell.Activated)
		r.must(c.Restart(ctx, shell.Requested))
		expectAsked("C activate", "C restart")
		// A parent that itself asks is not asked, one that sleeps is woken, one that is down is not started.
		r.must(c.Deactivate(shell.WithCaller(ctx, "P"), shell.Requested))
		r.must(c.Activate(shell.WithCaller(ctx, "P"), shell.Requested))
		expectAsked()
		r.must(r.putToSleep("P"))
		r.must(c.Deactivate(ctx, shell.Requested))
		r.expectIs("P", shell.Activated)
		expectAsked("C deactivate")
		r.must(r.shell("P").Deactivate(ctx, shell.Requested))
		r.must(c.Activate(ctx, shell.Requested))
		r.expectIs("C", shell.Precondition)
		r.must(r.Destroy(ctx, "C"))
		r.expectIs("C", "")
		expectAsked()
	})
}

// A virtual plugin sleeps only with its parent: to suspend, resume or hibernate it alone is refused
// with what to do instead, without a question to the parent, a wake, or a change.
func TestVirtualSleepsOnlyWithItsParent(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		r.plugins["P"].Connection = parentConn{answer: func(*shellpb.OperateVirtualRequest) error {
			r.Error("the parent was asked")
			return nil
		}}
		for _, state := range []shell.State{shell.Activated, shell.Hibernated} {
			if state == shell.Hibernated {
				r.must(r.putToSleep("P"))
			}
			c := r.shell("C")
			for verb, err := range map[string]error{
				"suspend":   c.Suspend(ctx, shell.Requested),
				"resume":    c.Resume(ctx, shell.Requested),
				"hibernate": c.Hibernate(ctx, shell.Requested, 0),
			} {
				if !errors.Is(err, shell.ErrVirtual) || !strings.Contains(err.Error(), "sleeps only with it; ask for that of P") {
					r.Errorf("%s of a virtual plugin that is %s: %v", verb, state, err)
				}
			}
			r.expectIs("P", state)
			r.expectIs("C", state)
		}
	})
}

// The parent may remove a virtual plugin while it is asked whether it may be destroyed.
func TestParentRemovesWhatItIsAskedFor(t *testing.T) {
	run(t, parents, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.create("P", "C")
		r.plugins["P"].Connection = parentConn{answer: func(*shellpb.OperateVirtualRequest) error {
			return r.RemoveVirtual(context.Background(), "P", "C")
		}}
		r.must(r.Destroy(r.Context(), "C"))
		r.expectIs("C", "")
	})
}

func TestCallsOfVirtual(t *testing.T) {
	runWith(t, parents, func(o *Options) { o.Plugins[0].OnCall = configs.OnCallWake }, func(r *rig) {
		r.closing()
		ctx := r.Context()
		r.Start(ctx)
		r.create("P", "C")
		r.plugins["P"].AnswerCall = func(_ context.Context, c shell.Call) (json.RawMessage, error) {
			return json.RawMessage(`"` + c.Method + " of " + c.Callsign + `"`), nil
		}
		call := func(want string) {
			r.Helper()
			answer, err := r.shell("C").Invoke(ctx, shell.Call{Method: "m"})
			if err != nil || string(answer) != want {
				r.Errorf("got %s, %v", answer, err)
			}
		}
		call(`"m of C"`)
		r.must(r.putToSleep("P"))
		call(`"m of C"`)
		r.expectIs("P", shell.Activated)
		if exists, err := r.shell("C").Exists(ctx, "echo"); err != nil || !exists {
			r.Errorf("echo exists: %v, %v", exists, err)
		}
		r.must(r.shell("P").Deactivate(ctx, shell.Requested))
		if _, err := r.shell("C").Invoke(ctx, shell.Call{Method: "m"}); !errors.Is(err, shell.ErrUnavailable) || !strings.Contains(err.Error(), "parent P") {
			r.Errorf("without its parent it was called: %v", err)
		}
	})
}
