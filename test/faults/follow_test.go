package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

// followed is a task of Inviter on the host near that follows a task of Survey on the host far.
type followed struct {
	t         *testing.T
	near, far *running
	address   string // of the task on far
	id        string // of the task on near
}

// running is a site with its host of the moment.
type running struct {
	*site
	*host
	deaths int
}

// again starts another host if the one before is dead.
func (r *running) again() {
	if r.dead() {
		r.killed()
		r.deaths++
		r.host = r.start("")
	}
}

// newFollowed returns one whose hosts are killed at these points, if they are given.
func newFollowed(t *testing.T, nearPoint, farPoint string) *followed {
	t.Helper()
	site := func(callsign, program string) *site {
		listen := freeAddress(t)
		text := policy("stop") + fmt.Sprintf("public-url = %q\n[webhooks]\nallow = [\"127.0.0.1\"]\n", "http://"+listen)
		s := newSite(t, text, plugin(callsign, programs+"/"+program, `sleep = "checkpoint"`, `on-call = "wake"`, `restart = { policy = "always", limit = 1000, backoff = "10ms" }`))
		s.listen = listen
		return s
	}
	near, far := site("Inviter", "inviter"), site("Survey", "survey")
	f := &followed{t: t, near: &running{site: near, host: near.start(nearPoint)}, far: &running{site: far, host: far.start("")}}
	f.far.ready()
	var made fittingTask
	f.far.must("Tasks.start", map[string]any{"callsign": "Survey", "parameters": map[string]any{"questions": []string{"One?", "Two?"}}}, &made)
	f.address = "http://" + far.listen + "/qhana/tasks/" + made.ID + "/"
	if farPoint != "" {
		f.far.end()
		f.far.host = far.start(farPoint)
	}
	return f
}

// freeAddress returns an address of this machine at which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// carryOut answers each question, once it is seen near, and then calls disturb.
func (f *followed) carryOut(disturb func()) {
	f.t.Helper()
	answered := ""
	for late := time.Now().Add(2 * patience); time.Now().Before(late); <-time.After(5 * time.Millisecond) {
		f.near.again()
		f.far.again()
		now, err := f.task()
		if err == nil && now.Status != "PENDING" {
			return
		}
		if err != nil || len(now.Steps) == 0 {
			continue
		}
		step := now.Steps[len(now.Steps)-1]
		if step.Cleared || step.ID == answered || answer(step.Href) != nil {
			continue
		}
		answered = step.ID
		disturb()
	}
	now, err := f.task()
	f.t.Fatalf("the task comes to no end: %+v, %v; the log near is:\n%sthe log far is:\n%s", now, err, f.near.log.String(), f.far.log.String())
}

// answer answers a question of Survey.
func answer(href string) error {
	client := http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	given, err := client.PostForm(href, url.Values{"answer": {"yes"}})
	if err != nil {
		return err
	}
	defer given.Body.Close()
	if given.StatusCode != http.StatusSeeOther && given.StatusCode != http.StatusConflict { // an earlier answer has come
		return fmt.Errorf("it is answered %s", given.Status)
	}
	return nil
}

// task returns the task near as it is now, which it starts if there is none.
func (f *followed) task() (now fittingTask, err error) {
	if f.id != "" {
		return now, f.near.ask("Tasks.get", map[string]any{"task": f.id}, &now)
	}
	var all struct{ Tasks []fittingTask }
	err = f.near.ask("Tasks.list", map[string]string{"callsign": "Inviter"}, &all)
	if err == nil && len(all.Tasks) > 0 {
		now = all.Tasks[0]
	} else if err == nil {
		err = f.near.ask("Tasks.start", map[string]any{"callsign": "Inviter", "parameters": map[string]string{"follow": f.address}}, &now)
	}
	f.id = now.ID
	return now, err
}

// verify fails the test unless both tasks have ended as they do undisturbed.
func (f *followed) verify() {
	f.t.Helper()
	for _, r := range []*running{f.near, f.far} {
		r.again()
		r.ready()
	}
	now, err := f.task()
	must(f.t, err)
	var all struct{ Tasks []fittingTask }
	f.far.must("Tasks.list", nil, &all)
	var far fittingTask
	f.far.must("Tasks.get", map[string]string{"task": all.Tasks[0].ID}, &far)
	if steps := stepsOf(now); now.Status != "SUCCESS" || steps != "of.question-1 true of.question-2 true " || !strings.Contains(now.Log, "ends as STATUS_SUCCESS with 1 outputs\n") {
		f.t.Errorf("near it is %+v; the log is:\n%s", now, f.near.log.String())
	}
	if steps := stepsOf(far); far.Status != "SUCCESS" || steps != "question-1 true question-2 true " {
		f.t.Errorf("far it is %+v; the log is:\n%s", far, f.far.log.String())
	}
	for _, r := range []*running{f.near, f.far} {
		r.end()
		audit(f.t, r.site, nil, "")
	}
}

// stepsOf returns the steps of a task, and whether each is cleared.
func stepsOf(t fittingTask) (text string) {
	for _, s := range t.Steps {
		text += fmt.Sprintf("%s %t ", s.ID, s.Cleared)
	}
	return text
}

// Whichever of two hosts is killed, and wherever, a task that follows one of the other has each of
// its steps once, and ends with it.
func TestHostsKilledOverFollowing(t *testing.T) {
	t.Parallel()
	points := []string{
		"near task.made", "near task.asked", "near task.begun", "near task.ended",
		"near follow.made", "near follow.subscribed", "near follow.mirroring", "near follow.mirrored", "near follow.brought", "near follow.ended",
		"far task.asked", "far task.begun", "far task.given", "far task.taken", "far task.written", "far task.ended",
		"far outbox.put", "far outbox.answered", "far outbox.settled",
	}
	if !thorough {
		points = pick(t, points, 2)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			runBeside(t)
			var f *followed
			if at, isNear := strings.CutPrefix(point, "near "); isNear {
				f = newFollowed(t, at, "")
			} else {
				f = newFollowed(t, "", strings.TrimPrefix(point, "far "))
			}
			f.carryOut(func() {})
			f.verify()
			if deaths := f.near.deaths + f.far.deaths; deaths != 1 {
				t.Errorf("hosts have died %d times", deaths)
			}
		})
	}
}

// Hosts and plugins that are killed at times chosen by a seed change nothing either.
func TestKillsOverFollowing(t *testing.T) {
	t.Parallel()
	runs := 1
	if thorough {
		runs = 8
	}
	for range runs {
		seed := uint64(time.Now().UnixNano())
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			runBeside(t)
			random := rand.New(rand.NewPCG(seed, 0))
			f := newFollowed(t, "", "")
			f.carryOut(func() {
				<-time.After(time.Duration(random.IntN(80)) * time.Millisecond)
				r, callsign := f.near, "Inviter"
				if random.IntN(2) == 0 {
					r, callsign = f.far, "Survey"
				}
				if random.IntN(2) == 0 {
					must(t, r.cmd.Process.Kill())
					r.killed()
					return
				}
				var all []status
				if r.ask("Controller.status@"+callsign, nil, &all) == nil && all[0].PID > 0 {
					_ = syscall.Kill(all[0].PID, syscall.SIGKILL)
				}
			})
			f.verify()
		})
	}
}

// A plugin that sleeps over a task which follows another is woken when the other has ended, and the
// other's is woken by its answers.
func TestSleepOverFollowing(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	f := newFollowed(t, "", "")
	asleep := func(r *running, callsign string) {
		until(t, callsign+" to sleep", func() bool {
			var all []status
			r.must("Controller.status@"+callsign, nil, &all)
			return all[0].State == "hibernated" || r.ask("Controller.hibernate", map[string]string{"callsign": callsign}, nil) == nil
		})
	}
	f.near.ready()
	_, err := f.task()
	must(t, err)
	until(t, "the first question", func() bool {
		now, err := f.task()
		must(t, err)
		return len(now.Steps) == 1
	})
	asleep(f.near, "Inviter")
	asleep(f.far, "Survey")
	f.carryOut(func() {})
	f.verify()
}
