package flows

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// linesAndShouts is what the plugin of declaredFlows does.
func linesAndShouts(_ string, q *shellpb.ProcessRequest) (results []*shellpb.Message, err error) {
	body := string(q.GetMessage().GetBody())
	switch q.GetFlow() {
	case "texts":
		for line := range strings.SplitSeq(body, "\n") {
			results = append(results, &shellpb.Message{Body: []byte(line)})
		}
	case "loud":
		results = append(results, &shellpb.Message{Body: []byte(strings.ToUpper(body))})
	}
	return results, nil
}

func TestMessagesGoFromSourceToSink(t *testing.T) {
	r := newRig(t, setup{})
	r.answer(linesAndShouts)
	r.declare(declaredFlows(), func(w *configs.Flow) { w.State = configs.FlowPaused })
	r.must(r.publish("texts", "a\nb"))
	for _, flow := range []string{"texts", "loud", "file"} { // one after the other, so that the order is known
		_, err := r.SetState(flow, configs.FlowRunning)
		r.must(err)
		r.until(flow, isEmpty)
	}
	r.expectAsked("texts a\nb", "loud a", "loud b", "file A", "file B")
	r.expectNothingAsked()
}

// What the source's own plugin publishes is a result.
func TestOwnPluginOfASource(t *testing.T) {
	r := newRig(t, setup{})
	flows := declaredFlows()
	flows[0].Gives = []string{"lines", "shouts"}
	r.declare(flows, nil)
	_, err := r.Publish(t.Context(), "A", "texts", &shellpb.Message{Topic: "shouts", Body: []byte("own")})
	r.must(err)
	r.expectAsked("file own")
	for topic, want := range map[string]string{"": "must name one of the topics lines, shouts", "other": `gives no topic "other"`} {
		_, err = r.Publish(t.Context(), "A", "texts", &shellpb.Message{Topic: topic})
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("topic %q got %v", topic, err)
		}
	}
	_, err = r.Publish(t.Context(), "B", "texts", &shellpb.Message{Topic: "shouts", Body: []byte("of another")})
	r.must(err)
	r.expectAsked("texts of another")
}

func TestPublishRefused(t *testing.T) {
	r := newRig(t, setup{})
	flows := declaredFlows()
	alone := flows[0]
	alone.Name, alone.Gives = "alone", []string{"nobody"}
	r.declare(append(flows, alone), nil)
	_, err := r.SetState("placeholder", configs.FlowRunning)
	r.must(err)
	big := make([]byte, shellpb.MaxFlowBody+1)
	for _, test := range []struct {
		flow string
		m    *shellpb.Message
		want error
		text string
	}{
		{"none", nil, ErrUnknown, `there is no such flow: "none"`},
		{"placeholder", nil, ErrUnknown, "no package declares placeholder now"},
		{"loud", nil, ErrInvalid, "loud is a transform"},
		{"file", nil, ErrInvalid, "file is a sink"},
		{"alone", nil, ErrUnrouted, "no flow takes the topic nobody, which alone gives"},
		{"texts", &shellpb.Message{Body: big}, ErrTooLarge, "its body has 1048577 bytes, and 1048576 are allowed"},
		{"texts", &shellpb.Message{Id: strings.Repeat("i", 257)}, ErrTooLarge, "its id has 257 bytes"},
		{"texts", &shellpb.Message{ContentType: strings.Repeat("c", 257)}, ErrTooLarge, "its content type has 257 bytes"},
		{"texts", &shellpb.Message{Metadata: map[string]string{"k": strings.Repeat("v", 60<<10)}}, ErrTooLarge, "its metadata has"},
		{"texts", &shellpb.Message{Id: "\xff"}, ErrInvalid, "must be text"},
		{"texts", &shellpb.Message{Metadata: map[string]string{"\xff": ""}}, ErrInvalid, "must be text"},
	} {
		_, err := r.Publish(t.Context(), "", test.flow, test.m)
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s got %v, want %q", test.flow, err, test.text)
		}
	}
	r.expectNothingAsked()
	most := &shellpb.Message{
		Id: strings.Repeat("i", 256), ContentType: strings.Repeat("c", 256), Body: big[:shellpb.MaxFlowBody],
		Metadata: map[string]string{"k": strings.Repeat("v", 60<<10-9)},
	}
	_, err = r.Publish(t.Context(), "", "texts", most)
	r.must(err)
}

func TestIDSeenIsNotDoneAgain(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), nil)
	for _, seen := range []bool{false, true, true} {
		got, err := r.Publish(t.Context(), "", "TEXTS", &shellpb.Message{Id: "one", Body: []byte("1")})
		if err != nil || got.ID != "one" || got.Seen != seen {
			t.Errorf("got %+v, %v; want seen %t", got, err, seen)
		}
	}
	r.must(r.publish("texts", "2"))
	r.expectAsked("texts 1", "texts 2")
	r.expectNothingAsked()
}

// The whole table of a flow's state and its plugin's readiness, with messages.
func TestEffectOfStateAndReadiness(t *testing.T) {
	conditions := map[string]func(*rig){
		"ready":     func(*rig) {},
		"not ready": func(r *rig) { r.setReadiness("p", Readiness{Why: "the package is being installed"}) },
		"disabled":  func(r *rig) { r.setReadiness("p", Readiness{Disabled: true, Why: "the package p is disabled"}) },
		"down":      func(r *rig) { r.must(r.shell("A").Deactivate(r.Context(), shell.Requested)) },
		"invalid": func(r *rig) {
			flows := declaredFlows()
			flows[0].Instance = ""
			r.declare(flows, nil)
		},
	}
	undo := map[string]func(*rig){
		"not ready": func(r *rig) { r.setReadiness("p", Readiness{Ready: true}) },
		"disabled":  func(r *rig) { r.setReadiness("p", Readiness{Ready: true}) },
		"down":      func(r *rig) { r.must(r.shell("A").Activate(r.Context(), shell.Requested)) },
		"invalid":   func(r *rig) { r.declare(declaredFlows(), nil) },
	}
	for _, test := range []struct {
		state     configs.FlowState
		condition string
		effect    string
	}{
		{configs.FlowRunning, "ready", "processed"},
		{configs.FlowRunning, "not ready", "queued"},
		{configs.FlowRunning, "down", "queued"},
		{configs.FlowRunning, "invalid", "queued"},
		{configs.FlowRunning, "disabled", "rejected"},
		{configs.FlowPaused, "ready", "queued"},
		{configs.FlowPaused, "not ready", "queued"},
		{configs.FlowPaused, "down", "queued"},
		{configs.FlowPaused, "invalid", "queued"},
		{configs.FlowPaused, "disabled", "queued"},
		{configs.FlowStopped, "ready", "rejected"},
		{configs.FlowStopped, "not ready", "rejected"},
		{configs.FlowStopped, "down", "rejected"},
		{configs.FlowStopped, "invalid", "rejected"},
		{configs.FlowStopped, "disabled", "rejected"},
	} {
		t.Run(fmt.Sprintf("%s, %s", test.state, test.condition), func(t *testing.T) {
			r := newRig(t, setup{})
			r.declare(declaredFlows(), nil)
			_, err := r.SetState("texts", test.state)
			r.must(err)
			conditions[test.condition](r)
			w, err := r.find("texts")
			r.must(err)
			is, err := r.recordOf(t.Context(), w)
			if err != nil || is.Effect != test.effect || (is.Why == "") != (test.effect == "processed") {
				t.Errorf("it is %s because %q, %v; want %s", is.Effect, is.Why, err, test.effect)
			}
			err = r.publish("texts", "m")
			switch {
			case test.effect == "rejected":
				if !errors.Is(err, ErrRejected) {
					t.Errorf("got %v", err)
				}
				return
			case err != nil:
				t.Fatal(err)
			case test.effect == "queued":
				r.until("texts", func(s record) bool { return s.Messages == 1 })
				r.expectNothingAsked()
				if undo[test.condition] != nil {
					undo[test.condition](r)
				}
				_, err := r.SetState("texts", configs.FlowRunning)
				r.must(err)
			}
			r.expectAsked("texts m")
			r.until("texts", isEmpty)
		})
	}
}

func (r *rig) shell(callsign string) *shell.Shell {
	sh, ok := r.supervisor.Shell(callsign)
	if !ok {
		r.Fatalf("there is no %s", callsign)
	}
	return sh
}

// A result for a flow that rejects it goes to that flow's dead letters, and can be retried.
func TestResultForAFlowThatRejects(t *testing.T) {
	for name, reject := range map[string]func(*rig){
		"stopped": func(r *rig) {
			_, err := r.SetState("loud", configs.FlowStopped)
			r.must(err)
		},
		"disabled": func(r *rig) { r.setReadiness("q", Readiness{Disabled: true, Why: "the package q is disabled"}) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{})
			r.answer(linesAndShouts)
			flows := declaredFlows()
			r.must(r.Declare(t.Context(), "q", flows[1:2]))
			r.declare([]configs.Flow{flows[0], flows[2]}, nil)
			reject(r)
			r.must(r.publish("texts", "m"))
			if why := r.deadReason("loud"); !strings.HasPrefix(why, "loud took no messages when it came") || !strings.Contains(why, name) {
				t.Errorf("died because of %q", why)
			}
			r.expectAsked("texts m")
			_, err := r.SetState("loud", configs.FlowRunning)
			r.must(err)
			r.setReadiness("q", Readiness{Ready: true})
			_, err = r.Queues.RetryDead(t.Context(), "loud")
			r.must(err)
			r.expectAsked("loud m", "file M")
		})
	}
}

func TestUnrouted(t *testing.T) {
	for unrouted, want := range map[string]string{"drop": "", "shouts": "file m", "error": "dead"} {
		t.Run(unrouted, func(t *testing.T) {
			r := newRig(t, setup{})
			r.answer(func(_ string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
				if q.GetFlow() != "texts" {
					return nil, nil
				}
				return []*shellpb.Message{{Topic: "nobody", Body: q.GetMessage().GetBody()}}, nil
			})
			r.declare(declaredFlows(), func(w *configs.Flow) {
				if w.Kind == configs.FlowSource {
					w.Gives, w.Unrouted, w.Attempts = []string{"lines", "nobody"}, unrouted, 2
				}
			})
			r.must(r.publish("texts", "m"))
			r.expectAsked("texts m")
			if want == "dead" {
				if why := r.deadReason("texts"); !strings.Contains(why, "no flow takes the topic nobody") {
					t.Errorf("died because of %q", why)
				}
				return
			}
			r.until("texts", isEmpty)
			if want != "" {
				r.expectAsked(want)
			}
			r.expectNothingAsked()
		})
	}
}

// Each wrong answer is counted, and ends with its reason among the dead letters.
func TestWrongAnswers(t *testing.T) {
	many := make([]*shellpb.Message, shellpb.MaxFlowResults+1)
	for i := range many {
		many[i] = &shellpb.Message{}
	}
	var large []*shellpb.Message
	for range 9 {
		large = append(large, &shellpb.Message{Body: make([]byte, shellpb.MaxFlowBody)})
	}
	for _, test := range []struct {
		name    string
		flow    string
		results []*shellpb.Message
		err     error
		tries   int
		why     string
	}{
		{"an error", "texts", nil, status.Error(codes.Unknown, "no luck"), 3, "the plugin answered: no luck"},
		{"a lasting error", "texts", nil, status.Error(codes.InvalidArgument, "never"), 1, "the plugin answered: never"},
		{"a topic that it does not give", "texts", []*shellpb.Message{{Topic: "shouts"}}, nil, 3, `gives no topic "shouts", only lines`},
		{"too many", "texts", many, nil, 3, "answered with 1001 results"},
		{"too large together", "texts", large, nil, 3, "answered with 9437"},
		{"too large", "texts", []*shellpb.Message{{Body: make([]byte, shellpb.MaxFlowBody+1)}}, nil, 3, "result 1: the message is too large"},
		{"a result of a sink", "file", []*shellpb.Message{{}}, nil, 3, "a sink has no results"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, setup{})
			tries := 0
			r.answer(func(callsign string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
				if q.GetFlow() != test.flow {
					return linesAndShouts(callsign, q)
				}
				if tries++; int(q.GetAttempt()) != tries {
					t.Errorf("attempt %d came as %d", tries, q.GetAttempt())
				}
				return test.results, test.err
			})
			r.declare(declaredFlows(), func(w *configs.Flow) { w.Attempts = 3 })
			r.must(r.publish("texts", "m"))
			if why := r.deadReason(test.flow); !strings.Contains(why, test.why) || tries != test.tries {
				t.Errorf("after %d tries dead because of %q", tries, why)
			}
		})
	}
}

// A plugin that never answers fails at the end of its call timeout, and others go on meanwhile.
func TestPluginThatHangs(t *testing.T) {
	r := newRig(t, setup{plugin: func(c *configs.Plugin) { c.CallTimeout = configs.Duration(20 * time.Millisecond) }})
	r.hangs = true
	r.declare(declaredFlows(), func(w *configs.Flow) { w.Attempts = 2 })
	r.must(r.publish("texts", "m"))
	r.must(r.publish("texts", "n"))
	if why := r.deadLetters("texts", 2)[0].Reason; !strings.Contains(why, "no answer from the plugin within 20ms") {
		t.Errorf("died because of %q", why)
	}
	r.expectAsked("texts m", "texts m", "texts n", "texts n")
}

// "Not now" is no attempt.
func TestPluginThatIsNotReady(t *testing.T) {
	r := newRig(t, setup{})
	left := 5
	r.answer(func(_ string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		if left--; left > 0 {
			return nil, status.Error(codes.Unavailable, "warming up")
		}
		if q.GetAttempt() != 1 {
			t.Errorf("it is attempt %d", q.GetAttempt())
		}
		return nil, nil
	})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.Attempts = 1 })
	r.must(r.publish("texts", "m"))
	r.until("texts", func(s record) bool { return s.Messages == 0 && s.Dead == 0 })
	if left != 0 {
		t.Errorf("%d times not asked", left)
	}
}

// A message that fails holds up those behind it, and the others keep their order.
func TestOrderAcrossRetries(t *testing.T) {
	r := newRig(t, setup{})
	failures := 2
	r.answer(func(_ string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		if string(q.GetMessage().GetBody()) == "2" && failures > 0 {
			failures--
			return nil, status.Error(codes.Unknown, "once more")
		}
		return nil, nil
	})
	r.declare(declaredFlows(), nil)
	for _, body := range []string{"1", "2", "3"} {
		r.must(r.publish("texts", body))
	}
	r.expectAsked("texts 1", "texts 2", "texts 2", "texts 2", "texts 3")
}

// A message that ends its plugin three times is a dead letter; the plugin's other ends don't
// count.
func TestMessageThatKills(t *testing.T) {
	r := newRig(t, setup{})
	kill := make(chan func(), 10)
	r.answer(func(string, *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		(<-kill)()
		return nil, fmt.Errorf("%w: the connection was lost", shell.ErrNotAnswered)
	})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.Attempts = 10 })
	r.must(r.publish("texts", "m"))
	ended := func() { go func() { _ = r.shell("A").Deactivate(r.Context(), shell.Requested) }() }
	for _, end := range []func(){r.plugins["A"].Kill, ended, r.plugins["A"].Kill, r.plugins["A"].Kill} {
		r.expectAsked("texts m")
		kill <- end
		r.until("texts", func(record) bool { return r.shell("A").State() == shell.Deactivated })
		r.must(r.shell("A").Activate(t.Context(), shell.Requested))
	}
	letters := r.deadLetters("texts", 1)
	if letters[0].Kills != 3 || !strings.Contains(letters[0].Reason, "the plugin ended while it had the message") {
		t.Errorf("got %+v", letters[0])
	}
	r.expectNothingAsked()
}

func TestDescribeEnd(t *testing.T) {
	said := errors.New("the key is hunter2")
	for want, err := range map[string]error{
		"it exited on signal 9 (killed)": fmt.Errorf("lost: %w", &shell.ExitError{Signal: 9, LastWords: said}),
		"it exited with status 1":        &shell.ExitError{Status: 1, LastWords: said},
		"the memory was exceeded":        fmt.Errorf("%w: %w", shell.ErrMemoryExceeded, said),
		"the process has exited":         said,
	} {
		if got := describeEnd(err); got != want {
			t.Errorf("%v became %q, want %q", err, got, want)
		}
	}
}

func TestBounds(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Flows) { c.MaxMessages = 3 }})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.MaxMessages, w.State = 2, configs.FlowPaused })
	other := declaredFlows()[0]
	other.Name = "more"
	r.must(r.Declare(t.Context(), "q", []configs.Flow{other}))
	_, err := r.SetState("more", configs.FlowPaused)
	r.must(err)
	r.must(r.publish("texts", "1"))
	r.must(r.publish("texts", "2"))
	if err := r.publish("texts", "3"); !errors.Is(err, queue.ErrQueueFull) {
		t.Errorf("beyond its own bound: %v", err)
	}
	r.must(r.publish("more", "1"))
	if err := r.publish("more", "2"); !errors.Is(err, queue.ErrFull) {
		t.Errorf("beyond the total: %v", err)
	}
}

// A full target holds the message up, without another attempt of the plugin.
func TestTargetThatIsFull(t *testing.T) {
	r := newRig(t, setup{})
	r.answer(linesAndShouts)
	r.declare(declaredFlows(), func(w *configs.Flow) {
		if w.Kind == configs.FlowTransform {
			w.MaxMessages, w.State = 2, configs.FlowPaused
		}
	})
	r.must(r.publish("texts", "1\n2"))
	r.must(r.publish("texts", "3"))
	r.until("texts", func(s record) bool { return strings.Contains(s.Why, "there is no room for its results") })
	_, err := r.SetState("loud", configs.FlowRunning)
	r.must(err)
	r.until("texts", isEmpty)
	r.until("file", isEmpty)
	asked := 0
	for len(r.asked) > 0 {
		if strings.HasPrefix(<-r.asked, "texts") {
			asked++
		}
	}
	if asked != 2 {
		t.Errorf("the source was asked %d times", asked)
	}
}

// A state is kept by name: before the flow is declared, after it is withdrawn, for the next
// host, and across upgrades.
func TestStatesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	r := newRig(t, setup{path: path})
	stateOf := func(flow string) configs.FlowState {
		w, err := r.find(flow)
		r.must(err)
		return w.now().state
	}
	_, err := r.SetState("Texts", configs.FlowPaused)
	r.must(err)
	flows := declaredFlows()
	flows[1].State = configs.FlowStopped
	r.declare(flows, nil)
	r.declare(declaredFlows(), nil) // an upgrade
	r.must(r.publish("texts", "kept"))
	r.Withdraw("p")
	for flow, want := range map[string]configs.FlowState{"texts": configs.FlowPaused, "loud": configs.FlowStopped, "file": configs.FlowRunning} {
		if got := stateOf(flow); got != want {
			t.Errorf("%s is %s, want %s", flow, got, want)
		}
	}
	r.close()

	r = newRig(t, setup{path: path})
	if got := stateOf("texts"); got != configs.FlowPaused {
		t.Errorf("the next host has texts %s", got)
	}
	r.declare(declaredFlows(), nil)
	r.expectNothingAsked()
	_, err = r.SetState("texts", configs.FlowRunning)
	r.must(err)
	r.expectAsked("texts kept")
}

// While a package is fetched that may declare a flow, the state counts that the flow has by its
// name: what is published waits, or is rejected. That is also so if an earlier host knew the flow.
func TestFlowThatIsExpected(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	r := newRig(t, setup{path: path})
	r.declare(declaredFlows(), nil)
	r.Withdraw("p")
	r.close()

	r = newRig(t, setup{path: path})
	_, err := r.SetState("mine", configs.FlowPaused)
	r.must(err)
	for _, test := range []struct {
		expected, flow string
		want           error
	}{
		{"", "texts", ErrUnknown},
		{"q", "texts", ErrUnknown}, // p declared it
		{"p", "texts", nil},
		{"p", "file", ErrInvalid}, // a sink
		{"p", "unknown", ErrUnknown},
		{"", "mine", ErrUnknown},
		{"q", "mine", nil}, // any package may
	} {
		r.expect(test.expected)
		if err := r.publish(test.flow, test.expected); !errors.Is(err, test.want) {
			t.Errorf("%s while %q is expected: %v, want %v", test.flow, test.expected, err, test.want)
		}
	}
	r.expect("p")
	w, err := r.find("texts")
	r.must(err)
	if is, err := r.recordOf(t.Context(), w); err != nil || is.Effect != "queued" || !strings.Contains(is.Why, "the package p are not known before it is fetched") {
		t.Errorf("it is %s, %q, %v", is.Effect, is.Why, err)
	}
	_, err = r.SetState("texts", configs.FlowStopped)
	r.must(err)
	if err := r.publish("texts", "stopped"); !errors.Is(err, ErrRejected) {
		t.Errorf("to a stopped flow: %v", err)
	}
	_, err = r.SetState("texts", configs.FlowRunning)
	r.must(err)
	r.expectNothingAsked()
	r.declare(declaredFlows(), nil)
	r.expectAsked("texts p")
}

func TestNameOfAnotherPackage(t *testing.T) {
	r := newRig(t, setup{})
	r.declare(declaredFlows(), nil)
	mine := declaredFlows()[:2]
	mine[0].Name, mine[1].Name = "mine", "LOUD"
	err := r.Declare(t.Context(), "q", mine)
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "the packages p and q both declare the flow LOUD") {
		t.Errorf("got %v", err)
	}
	if _, err := r.find("mine"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a flow of the refused declaration is there: %v", err)
	}
}

// A hibernated plugin is woken by the number of messages, or by the age of one.
func TestWakesHibernatedPlugin(t *testing.T) {
	hibernate := func(r *rig) {
		r.Helper()
		if r.shell("A").Status().Control == "resumed" {
			r.must(r.shell("A").Suspend(t.Context(), shell.Requested))
		}
		r.must(r.shell("A").Hibernate(t.Context(), shell.Requested, 0))
	}
	t.Run("number", func(t *testing.T) {
		r := newRig(t, setup{})
		r.declare(declaredFlows(), nil)
		hibernate(r)
		r.must(r.publish("texts", "1"))
		r.must(r.publish("texts", "2"))
		w, err := r.find("texts")
		r.must(err)
		if is, err := r.recordOf(t.Context(), w); err != nil || is.Why != "A sleeps, and is woken when more wait, or for longer" || is.Effect != "processed" {
			t.Errorf("it waits because %q (%s), %v", is.Why, is.Effect, err)
		}
		r.expectNothingAsked()
		r.must(r.publish("texts", "3"))
		r.expectAsked("texts 1", "texts 2", "texts 3")
	})
	t.Run("age", func(t *testing.T) {
		r := newRig(t, setup{config: func(c *configs.Flows) { c.WakeAfter = configs.Duration(20 * time.Millisecond) }})
		r.declare(declaredFlows(), nil)
		hibernate(r)
		r.must(r.publish("texts", "1"))
		r.expectAsked("texts 1")
	})
	t.Run("on-call = reject", func(t *testing.T) {
		r := newRig(t, setup{plugin: func(c *configs.Plugin) { c.OnCall = configs.OnCallReject }})
		r.declare(declaredFlows(), nil)
		hibernate(r)
		for range 4 {
			r.must(r.publish("texts", "1"))
		}
		if is := r.until("texts", func(s record) bool { return s.Messages == 4 }); is.Effect != "queued" || !strings.Contains(is.Why, "A is hibernated") {
			t.Errorf("it is %s because %q", is.Effect, is.Why)
		}
		r.expectNothingAsked()
		r.must(r.shell("A").Activate(t.Context(), shell.Requested))
		r.expectAsked("texts 1")
	})
}

func TestParallel(t *testing.T) {
	r := newRig(t, setup{})
	together := make(chan struct{}, 3)
	all := make(chan struct{})
	r.answer(func(string, *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		together <- struct{}{}
		<-all
		return nil, nil
	})
	r.declare(declaredFlows(), func(w *configs.Flow) { w.Parallel = 3 })
	for _, body := range []string{"1", "2", "3", "4"} {
		r.must(r.publish("texts", body))
	}
	for range 3 {
		select {
		case <-together:
		case <-time.After(patience):
			t.Fatal("fewer than three are under way")
		}
	}
	close(all)
	r.until("texts", isEmpty)
}

// What waits is processed, with its results, while nothing new is taken.
func TestDrainAndDiscard(t *testing.T) {
	r := newRig(t, setup{})
	gate := make(chan struct{})
	r.answer(func(callsign string, q *shellpb.ProcessRequest) ([]*shellpb.Message, error) {
		<-gate
		return linesAndShouts(callsign, q)
	})
	r.declare(declaredFlows(), nil)
	r.must(r.publish("texts", "1\n2"))
	if got, err := r.Holding(t.Context(), "p"); err != nil || len(got) != 1 || got[0] != "texts" {
		t.Errorf("holding %q, %v", got, err)
	}
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := r.Drain(soon, "p"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a drain without time: %v", err)
	}
	r.must(r.publish("texts", "3"))

	drained := make(chan error, 1)
	go func() { drained <- r.Drain(t.Context(), "p") }()
	w, err := r.find("texts")
	r.must(err)
	for !w.now().draining {
		waitAny(t.Context(), nil, nil, time.Millisecond)
	}
	if err := r.publish("texts", "4"); !errors.Is(err, ErrRejected) {
		t.Errorf("while it drains: %v", err)
	}
	close(gate)
	r.must(<-drained)
	if held, _ := r.Queues.Total(); held != 0 {
		t.Errorf("%d messages and dead letters are left", held)
	}

	r.declare(declaredFlows(), nil)
	_, err = r.SetState("texts", configs.FlowPaused)
	r.must(err)
	r.must(r.publish("texts", "5"))
	r.must(r.Discard(t.Context(), "p"))
	if got, err := r.Holding(t.Context(), "p"); err != nil || len(got) != 0 {
		t.Errorf("holding %q, %v", got, err)
	}
}
