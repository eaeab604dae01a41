package follow

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// elsewhere is the address of a task elsewhere.
const elsewhere = "http://there/tasks/1/"

var errUnreachable = errors.New("no connection")

// readsSoFar returns how often the task elsewhere was read.
func (r *rig) readsSoFar() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads
}

// broughtSoFar returns what the plugin was brought.
func (r *rig) broughtSoFar() []*taskspb.FollowedRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.brought)
}

// setAddable says how many more steps can be added; negative for any number.
func (r *rig) setAddable(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addable = n
}

// stepsOfA returns the steps of the task a of this host, each with an x once it is cleared.
func (r *rig) stepsOfA() string {
	t, err := r.Get(context.Background(), "a")
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Join(mirrored(r.t, t, &taskspb.Task{}, link{}), ",")
}

// setOther changes the task elsewhere without telling.
func (r *rig) setOther(t *taskspb.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.others[elsewhere] = t
}

// setTrouble has reading elsewhere fail from now on; nil ends that.
func (r *rig) setTrouble(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = err
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// expectEnd checks whether the plugin was brought the end alone, as vanished for that reason.
func (r *rig) expectEnd(reason string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.brought) != 1 || r.brought[0].GetState() != nil || !strings.Contains(r.brought[0].GetReason(), reason) {
		r.t.Errorf("the plugin is brought %v", r.brought)
	}
}

// A task elsewhere whose webhooks never arrive is read each minute.
func TestPollWithoutWebhooks(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.setOther(task(elsewhere, pending, "1"))
		r.mustFollow("a", elsewhere, "of.")
		r.setOther(task(elsewhere, pending, "1 x", "2"))
		if got := r.stepsOfA(); got != "of.1" {
			t.Errorf("at first: %s", got)
		}
		pass(pollEvery + time.Second)
		if got := r.stepsOfA(); got != "of.1 x,of.2" {
			t.Errorf("after a minute: %s", got)
		}
		before := r.readsSoFar()
		pass(10 * pollEvery)
		if polls := r.readsSoFar() - before; polls != 10 {
			t.Errorf("%d polls in ten minutes", polls)
		}
		r.setOther(task(elsewhere, success, "1 x", "2 x"))
		pass(pollEvery)
		if got := r.stepsOfA(); got != "of.1 x,of.2 x" || len(r.broughtSoFar()) != 1 {
			t.Errorf("after the end: %s, brought %v", got, r.broughtSoFar())
		}
	})
}

// A task elsewhere that vanishes takes its own open step with it, also after a restart, and no
// step of another origin or of the plugin.
func TestVanishedClearsItsStep(t *testing.T) {
	for name, own := range map[string]*taskspb.Task{
		"its own step": task("a", pending), "a step before": task("a", pending, "mine x"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(r *rig) {
				r.put(own)
				r.setOther(task(elsewhere, pending, "1"))
				r.mustFollow("a", elsewhere, "of.")
				r.close()
				r.setOther(nil)
				r.open()
				if got := r.stepsOfA(); !strings.HasSuffix(got, "of.1 x") {
					t.Errorf("the steps are %s", got)
				}
				r.expectEnd("no such task")
			})
		})
	}
}

// A step that leads to the same program as the vanished task stays, if it is another's.
func TestVanishedLeavesOthersSteps(t *testing.T) {
	inBubble(t, func(r *rig) {
		own := task("a", pending, "mine")
		own.Steps[0].Href = "http://there/plugins/x/"
		r.put(own)
		r.mustFollow("a", elsewhere, "of.")
		if got := r.stepsOfA(); got != "mine" {
			t.Errorf("the steps are %s", got)
		}
		r.expectEnd("no such task")
	})
}

// A task that is out of reach for a day has vanished; one that comes back before has not.
func TestOutOfReach(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.setOther(task(elsewhere, pending, "1"))
		r.mustFollow("a", elsewhere, "of.")
		r.setTrouble(errUnreachable)
		pass(vanishedAfter - time.Hour)
		r.setTrouble(nil)
		pass(2 * pollEvery)
		r.setTrouble(errUnreachable)
		pass(vanishedAfter - time.Hour)
		if got := r.stepsOfA(); got != "of.1" || len(r.broughtSoFar()) > 0 {
			t.Fatalf("before: %s, brought %v", got, r.broughtSoFar())
		}
		pass(time.Hour + 3*pollEvery)
		if got := r.stepsOfA(); got != "of.1 x" {
			t.Errorf("the steps are %s", got)
		}
		r.expectEnd("out of reach for 24h")
	})
}

// The time in which no host has run does not count: a task that is out of reach again when the next
// host begins has a day from what was seen of it.
func TestOutOfReachIsWhatWasSeen(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.setOther(task(elsewhere, pending))
		r.mustFollow("a", elsewhere, "of.")
		r.setTrouble(errUnreachable)
		pass(time.Hour)
		r.close()
		pass(2 * vanishedAfter)
		r.open()
		pass(vanishedAfter - 2*time.Hour)
		if brought := r.broughtSoFar(); len(brought) > 0 {
			t.Fatalf("brought %v", brought)
		}
		pass(time.Hour + 5*pollEvery)
		r.expectEnd("out of reach for 24h")
	})
}

// What one task mirrors of another is mirrored by a third, and goes when the one between vanishes.
func TestChain(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, id := range []string{"a", "b"} {
			r.put(task(id, pending))
		}
		r.put(task("c", pending, "1"))
		r.mustFollow("b", "c", "c.")
		r.mustFollow("a", "b", "b.")
		if got := r.stepsOfA(); got != "b.c.1" {
			t.Fatalf("the steps are %s", got)
		}
		r.mu.Lock()
		delete(r.own, "b")
		r.mu.Unlock()
		r.Note("b")
		synctest.Wait()
		if got := r.stepsOfA(); got != "b.c.1 x" {
			t.Errorf("the steps are %s", got)
		}
		r.expectEnd("no such task")
	})
}

// Tasks can't follow each other, directly or by way of others.
func TestLoopIsRefused(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, id := range []string{"a", "b", "c"} {
			r.put(task(id, pending))
		}
		r.mustFollow("a", "b", "")
		r.mustFollow("b", "c", "")
		for _, pair := range [][2]string{{"a", "a"}, {"b", "a"}, {"c", "a"}, {"c", "b"}} {
			if err := r.follow(pair[0], pair[1], ""); !errors.Is(err, tasks.ErrInvalid) {
				t.Errorf("%v: %v", pair, err)
			}
		}
		r.mustFollow("a", "c", "") // that is none
	})
}

// The task that answers an invitation is not followed if it follows the one that has invited.
func TestLoopByInvitationIsRefused(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.put(task("b", pending))
		if _, err := r.Invite(context.Background(), "Plugin", &taskspb.InviteRequest{Task: "a", Step: "invite", Plugin: "B"}); err != nil {
			t.Fatal(err)
		}
		r.mustFollow("b", "a", "")
		l := r.onlyLinkOf("a")
		if err := r.Called(context.Background(), l.token, "b"); !errors.Is(err, tasks.ErrUnknown) {
			t.Errorf("got %v", err)
		}
		if l := r.onlyLinkOf("a"); l.other != "" {
			t.Errorf("%s is followed", l.other)
		}
	})
}

// onlyLinkOf returns the link of a task that has one.
func (r *rig) onlyLinkOf(task string) link {
	r.t.Helper()
	var all []link
	err := r.store.View(context.Background(), func(tx *store.Tx) (err error) {
		all, err = readLinks(tx, "task = ?", task)
		return err
	})
	if err != nil || len(all) != 1 {
		r.t.Fatalf("%v: %v", all, err)
	}
	return all[0]
}

// Two invitations of one task to the same plugin are followed side by side: the answer to one says
// nothing about the other. The same invitation again is the one that is there.
func TestTwoInvitations(t *testing.T) {
	inBubble(t, func(r *rig) {
		for _, id := range []string{"a", "b", "c"} {
			r.put(task(id, pending))
		}
		for i, step := range []string{"first", "second"} {
			ask := &taskspb.InviteRequest{Task: "a", Step: step, Plugin: "B", Prefix: step + "."}
			made, err := r.Invite(context.Background(), "Plugin", ask)
			if err != nil {
				t.Fatal(err)
			}
			again, err := r.Invite(context.Background(), "Plugin", ask)
			if diff := cmp.Diff(made.GetHref(), again.GetHref()); err != nil || diff != "" {
				t.Fatalf("%v (-first +again):\n%s", err, diff)
			}
			_, token, _ := strings.Cut(made.GetHref(), "callbacks/")
			if err := r.Called(context.Background(), token, []string{"b", "c"}[i]); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		for _, id := range []string{"b", "c"} {
			r.put(task(id, success, "1 x"))
			r.Note(id)
			synctest.Wait()
		}
		if got := r.stepsOfA(); got != "first x,second x,first.1 x,second.1 x" {
			t.Errorf("the steps are %s", got)
		}
	})
}

// A task may have a number of links, and no more.
func TestTooManyLinks(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.put(task("b", pending))
		for i := range maxLinks {
			r.setTrouble(errUnreachable)
			r.mustFollow("a", elsewhere+strings.Repeat("x", i), "")
		}
		if err := r.follow("a", "b", ""); !errors.Is(err, tasks.ErrFull) {
			t.Errorf("got %v", err)
		}
		r.mustFollow("a", elsewhere, "") // is there already
	})
}

// A host that ends between noting a step and making it makes it once in its next life.
func TestStepIsMadeOnceAfterEnd(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending))
		r.setAddable(0)
		r.setOther(task(elsewhere, pending, "1"))
		r.mustFollow("a", elsewhere, "of.")
		if l := r.onlyLinkOf("a"); l.mirrored != "of.1" || r.stepsOfA() != "" {
			t.Fatalf("%+v, steps %s", l, r.stepsOfA())
		}
		r.close()
		r.setAddable(-1)
		r.open()
		if got := r.stepsOfA(); got != "of.1" {
			t.Errorf("the steps are %s", got)
		}
	})
}

// A task elsewhere that mirrors a step of the one that follows it makes a loop: the following ends
// with a reason, nothing is mirrored, and the own step stays.
func TestLoopElsewhereEnds(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.put(task("a", pending, "own"))
		other := task(elsewhere, pending, "first x", "of.own")
		for _, s := range other.GetSteps() {
			s.Href = elsewhere + "steps/" + s.GetId() + "/"
		}
		r.setOther(other)
		r.mustFollow("a", elsewhere, "of.")
		if n := len(r.broughtSoFar()); n > 0 {
			t.Fatalf("the plugin was brought %d events", n)
		}
		looped := proto.CloneOf(other)
		looped.GetSteps()[1].Href = "http://here/tasks/a/steps/own/"
		r.setOther(looped)
		pass(pollEvery + time.Second)
		r.expectEnd("follows this one")
		if steps := r.stepsOfA(); strings.Contains(steps, "of.of.own") || !strings.Contains(steps, "own") {
			t.Errorf("the steps are %s", steps)
		}
	})
}
