package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// journeyKinds are the ways in which a task goes along with one of another host, and the points at
// which either host is killed over that.
var journeyKinds = map[string]struct {
	begin       func(t *testing.T, pointHere, pointThere string) *journey
	here, there []string
}{
	"follow": {
		newFollow,
		[]string{
			"task.made", "task.asked", "task.begun", "task.ended", "follow.made", "follow.asked", "follow.subscribed", "follow.called",
			"follow.mirroring", "follow.mirrored", "follow.handed", "follow.brought", "follow.ended", "follow.dropping",
		},
		[]string{"task.made", "task.asked", "task.begun", "task.given", "task.taken", "task.written", "task.ended", "outbox.put", "outbox.answered", "outbox.settled"},
	},
	"invite": {
		newInvitation,
		[]string{
			"task.made", "task.asked", "task.begun", "task.ended", "follow.made", "follow.invited", "follow.called", "follow.cleared",
			"follow.mirroring", "follow.mirrored", "follow.handed", "follow.brought", "follow.ended", "follow.dropping",
		},
		[]string{"task.made", "task.asked", "task.begun", "task.given", "task.taken", "task.ended", "outbox.put", "outbox.answered", "outbox.settled"},
	},
}

// webhooksAllowed is a table that lets a host call this machine.
const webhooksAllowed = "[webhooks]\nallow = [\"127.0.0.1\"]\n"

// side is one of two hosts with tasks that go along with each other.
type side struct {
	*site
	callsign string // of its plugin
	door     *door
	host     *host
	point    string // at which the host is killed
}

// journey is a task of Follower on one host that goes along with a task of another.
type journey struct {
	t          *testing.T
	here       *side
	there      *side
	parameters map[string]any
	id         string
	want       string // the steps in the end
	outputs    int    // of the task there
}

// newSide makes a host with one plugin that others reach by HTTP. Its configuration has tables too.
func newSide(t *testing.T, callsign, program, tables string) *side {
	t.Helper()
	d := newDoor(t)
	text := policy("stop") + fmt.Sprintf("public-url = %q\nlog-level = \"debug\"\n", d.url) + tables
	return &side{callsign: callsign, door: d, site: newSite(t, text, plugin(callsign, programs+"/"+program, `sleep = "checkpoint"`, `on-call = "wake"`, `restart = { policy = "always", limit = 1000, backoff = "10ms" }`))}
}

// begin starts a life of the host, which is killed at that point.
func (s *side) begin(point string) {
	s.t.Helper()
	s.host = s.start(point)
	s.door.lead(s.host)
	s.point = point
}

// revive starts the host again if it was killed.
func (s *side) revive() {
	s.t.Helper()
	if s.host.dead() {
		s.host.killed()
		s.begin("")
	}
}

// newFollow returns a journey with a task of Survey there, of whose three questions the second is
// answered by the code of Follower.
func newFollow(t *testing.T, pointHere, pointThere string) *journey {
	t.Helper()
	here, there := newSide(t, "Follower", "follower", webhooksAllowed), newSide(t, "Survey", "survey", webhooksAllowed)
	return newFollowBetween(t, here, there, pointHere, pointThere)
}

// newFollowBetween is newFollow between these hosts.
func newFollowBetween(t *testing.T, here, there *side, pointHere, pointThere string) *journey {
	t.Helper()
	j := &journey{t: t, here: here, there: there, want: "of.question-1 true of.question-3 true ", outputs: 1}
	j.there.begin(pointThere)
	questions := map[string]any{"callsign": "Survey", "parameters": map[string]any{"questions": []string{"one?", "two?", "three?"}}}
	var other task
	until(t, "a task there", func() bool {
		j.there.revive()
		var all struct{ Tasks []task }
		switch err := j.there.host.ask("Tasks.list", nil, &all); {
		case err != nil:
			return false
		case len(all.Tasks) > 0:
			other = all.Tasks[0]
			return true
		}
		return j.there.host.ask("Tasks.start", questions, &other) == nil
	})
	j.parameters = map[string]any{
		"follow": j.there.door.url + "/qhana/tasks/" + other.ID + "/",
		"except": []string{"question-2"}, "values": map[string]string{"answer": "of the code"},
	}
	j.here.begin(pointHere)
	return j
}

// newInvitation returns a journey that invites to LeastSquares there, whose data come from the code
// of Follower.
func newInvitation(t *testing.T, pointHere, pointThere string) *journey {
	t.Helper()
	f := newFitting(t) // for its data
	j := &journey{t: t, here: newSide(t, "Follower", "follower", webhooksAllowed), there: newSide(t, "LeastSquares", "LeastSquares", webhooksAllowed), want: "invite true of.evaluate true "}
	j.there.begin(pointThere)
	j.there.host.ready()
	j.parameters = map[string]any{
		"invite": j.there.door.url + "/qhana/plugins/least-squares@1-0-0/",
		"except": []string{"pass_data"}, "values": map[string]string{"features": f.features, "target": f.target},
	}
	j.here.begin(pointHere)
	return j
}

// task returns the task here as it is now. It starts the task at first.
func (j *journey) task() (now fittingTask, err error) {
	if j.id != "" {
		err := j.here.host.ask("Tasks.get", map[string]any{"task": j.id}, &now)
		return now, err
	}
	var all struct{ Tasks []fittingTask }
	if err := j.here.host.ask("Tasks.list", nil, &all); err != nil {
		return now, err
	}
	if len(all.Tasks) > 0 {
		j.id = all.Tasks[0].ID
		return all.Tasks[0], nil
	}
	err = j.here.host.ask("Tasks.start", map[string]any{"callsign": "Follower", "parameters": j.parameters}, &now)
	if err == nil {
		j.id = now.ID
	}
	return now, err
}

// carryOut leads the task to its end, as a user does that reads it here and submits its steps where
// they lead, and calls between before each step. A host that was killed is started again.
func (j *journey) carryOut(between func()) {
	j.t.Helper()
	j.carryOutWith(between, func() {})
}

// carryOutWith is carryOut that calls after when a step was submitted for the first time.
func (j *journey) carryOutWith(between, after func()) {
	j.t.Helper()
	happened := ""
	for late := time.Now().Add(patience); time.Now().Before(late); {
		j.here.revive()
		j.there.revive()
		now, err := j.task()
		if err != nil { // the host begins, or was killed
			<-time.After(5 * time.Millisecond)
			continue
		}
		if now.Status != "PENDING" {
			return
		}
		if len(now.Steps) > 0 {
			if step := now.Steps[len(now.Steps)-1]; !step.Cleared {
				isNew := step.ID != happened
				if happened = step.ID; isNew {
					between()
				}
				if j.give(step.ID, step.Href); isNew {
					after()
				}
			}
		}
		_ = j.here.host.ask("Tasks.get", map[string]any{"task": j.id, "revision": now.Revision, "wait": 0.2}, nil)
	}
	now, err := j.task()
	j.t.Fatalf("the task comes to no end: %+v, %v; the hosts' logs are:\n%s\n%s", now, err, j.here.host.log.String(), j.there.host.log.String())
}

// give does what a step asks the user for. The user starts one task only.
func (j *journey) give(step, href string) {
	var all struct{ Tasks []task }
	if step == "invite" && (j.there.host.ask("Tasks.list", nil, &all) != nil || len(all.Tasks) > 0) {
		return
	}
	form := url.Values{}
	if strings.Contains(step, "question") {
		form.Set("answer", step)
	}
	client := http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if answer, err := client.PostForm(href, form); err == nil {
		_ = answer.Body.Close()
	}
}

// verify fails the test unless both tasks have succeeded, with each step once.
func (j *journey) verify() {
	j.t.Helper()
	for _, s := range []*side{j.here, j.there} {
		s.revive()
		s.host.ready()
	}
	now, err := j.task()
	must(j.t, err)
	steps := ""
	for _, s := range now.Steps {
		steps += fmt.Sprintf("%s %t ", s.ID, s.Cleared)
	}
	var others struct{ Tasks []task }
	j.there.host.must("Tasks.list", nil, &others)
	if now.Status != "SUCCESS" || steps != j.want || !strings.Contains(now.Log, fmt.Sprintf("ends as STATUS_SUCCESS with %d outputs\n", j.outputs)) || len(others.Tasks) != 1 || others.Tasks[0].Status != "SUCCESS" {
		j.t.Fatalf("the task is %+v, those there %+v; the hosts' logs are:\n%s\n%s", now, others, j.here.host.log.String(), j.there.host.log.String())
	}
	for _, s := range []*side{j.here, j.there} {
		s.host.end()
		audit(j.t, s.site, nil, "")
	}
}

// A host that is killed at any point over a task that follows one of another host, or is followed,
// makes no step twice and misses none, and both tasks end.
func TestKilledOverFollow(t *testing.T) {
	t.Parallel()
	for name, kind := range journeyKinds {
		here, there := kind.here, kind.there
		if !thorough {
			here, there = pick(t, here, 1), pick(t, there, 1)
		}
		killed := func(pointHere, pointThere string) {
			t.Run(name+"/"+pointHere+pointThere, func(t *testing.T) {
				runBeside(t)
				j := kind.begin(t, pointHere, pointThere)
				j.carryOut(func() {})
				for _, s := range []*side{j.here, j.there} {
					if s.point != "" { // it is killed after the end
						s.host.killed()
						s.begin("")
					}
				}
				j.verify()
			})
		}
		for _, point := range here {
			killed(point, "")
		}
		for _, point := range there {
			killed("", point)
		}
	}
}

// interruptions are what may happen to a side before each step, by name.
var interruptions = map[string]func(*side){
	"nothing": func(*side) {},
	"host killed": func(s *side) {
		must(s.t, s.host.cmd.Process.Kill())
		s.host.killed()
		s.begin("")
	},
	"plugin killed": func(s *side) {
		if pid := s.status().PID; pid > 0 {
			must(s.t, syscall.Kill(pid, syscall.SIGKILL))
		}
	},
	"plugin asleep": (*side).sleep,
}

// status returns that of the plugin, once its host has begun.
func (s *side) status() status {
	s.t.Helper()
	s.host.ready()
	var all []status
	s.host.must("Controller.status@"+s.callsign, nil, &all)
	return all[0]
}

// sleep returns when the plugin sleeps.
func (s *side) sleep() {
	s.t.Helper()
	until(s.t, s.callsign+" to sleep", func() bool {
		return s.status().State == "hibernated" || s.host.ask("Controller.hibernate", map[string]string{"callsign": s.callsign}, nil) == nil
	})
}

// Whatever happens to both hosts and their plugins before each step, a task goes along with one of
// another host.
func TestFollowInterrupted(t *testing.T) {
	t.Parallel()
	for name, kind := range journeyKinds {
		tried := slices.Sorted(maps.Keys(interruptions))
		if !thorough {
			tried = pick(t, tried, 2)
		}
		for _, interruption := range tried {
			t.Run(name+"/"+interruption, func(t *testing.T) {
				runBeside(t)
				if interruption == "plugin asleep" {
					needCRIU(t)
				}
				j := kind.begin(t, "", "")
				j.carryOut(func() {
					interruptions[interruption](j.here)
					interruptions[interruption](j.there)
				})
				j.verify()
			})
		}
	}
}

// Hosts and plugins that are killed at times chosen by a seed change nothing either.
func TestKillsOverFollow(t *testing.T) {
	t.Parallel()
	runs := 1
	if thorough {
		runs = 8
	}
	for name, kind := range journeyKinds {
		for range runs {
			seed := rand.Uint64()
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				runBeside(t)
				random := rand.New(rand.NewPCG(seed, 0))
				j := kind.begin(t, "", "")
				j.carryOutWith(func() {}, func() {
					<-time.After(time.Duration(random.IntN(80)) * time.Millisecond)
					s := []*side{j.here, j.there}[random.IntN(2)]
					interruptions[[]string{"host killed", "plugin killed"}[random.IntN(2)]](s)
				})
				j.verify()
			})
		}
	}
}
