package faults

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// publicURL is what the hosts of these tests call themselves. Nothing listens there: the plugins of
// one host need no HTTP among each other.
const publicURL = "http://127.0.0.1:1"

// fitters are the example plugins that fit a model together.
var fitters = []string{"Optimizer", "LeastSquares", "PatternSearch"}

// fitting is a task of Optimizer that is led to its end.
type fitting struct {
	t        *testing.T
	site     *site
	host     *host
	features string // addresses
	target   string
	id       string
}

// disturbance is what may happen to a host and its plugins between two steps, and what the host does
// with its plugins when it ends. happen returns when it has happened.
type disturbance struct {
	onHostExit string
	happen     func(*fitting)
}

// disturbances has each one by its name.
var disturbances = map[string]disturbance{
	"host killed":                  {"stop", (*fitting).killHost},
	"host killed, plugins adopted": {"adopt", (*fitting).killHost},
	"host replaced in place":       {"adopt", (*fitting).replaceHost},
	"host restarted": {"stop", func(f *fitting) {
		f.host.end()
		f.host = f.site.start("")
	}},
	"plugins killed": {"stop", (*fitting).killPlugins},
	"plugins asleep": {"stop", (*fitting).putPluginsToSleep},
}

// killHost kills the host and starts the next one.
func (f *fitting) killHost() {
	f.t.Helper()
	must(f.t, f.host.cmd.Process.Kill())
	f.host.killed()
	f.host = f.site.start("")
}

// replaceHost has the host execute its program anew, which adopts the plugins.
func (f *fitting) replaceHost() {
	f.t.Helper()
	f.host.ready()
	before := make(map[string]int)
	for _, callsign := range fitters {
		before[callsign] = f.statusOf(callsign).PID
	}
	address := filepath.Join(f.site.root, "address")
	must(f.t, os.Remove(address))
	must(f.t, f.host.cmd.Process.Signal(syscall.SIGUSR2))
	until(f.t, "the next program to listen", func() bool {
		text, err := os.ReadFile(address)
		f.host.setAddress(string(text))
		return err == nil
	})
	for callsign, pid := range before {
		until(f.t, callsign+" to be adopted", func() bool {
			var all []status
			return f.host.ask("Controller.status@"+callsign, nil, &all) == nil && len(all) == 1 && all[0].PID > 0
		})
		if now := f.statusOf(callsign); pid > 0 && now.PID != pid {
			f.t.Errorf("%s was process %d and is %+v", callsign, pid, now)
		}
	}
}

// killPlugins kills the processes of the plugins.
func (f *fitting) killPlugins() {
	f.t.Helper()
	for _, callsign := range fitters {
		if pid := f.statusOf(callsign).PID; pid > 0 {
			must(f.t, syscall.Kill(pid, syscall.SIGKILL))
		}
	}
}

// putPluginsToSleep hibernates the plugins.
func (f *fitting) putPluginsToSleep() {
	f.t.Helper()
	for _, callsign := range fitters {
		until(f.t, callsign+" to sleep", func() bool {
			return f.statusOf(callsign).State == "hibernated" || f.host.ask("Controller.hibernate", map[string]string{"callsign": callsign}, nil) == nil
		})
	}
}

// statusOf returns what the host says of an instance.
func (f *fitting) statusOf(callsign string) status {
	f.t.Helper()
	var all []status
	f.host.must("Controller.status@"+callsign, nil, &all)
	return all[0]
}

// Whatever happens at each step, the optimizer has the same steps and finds the same weights.
func TestOptimizerDisturbed(t *testing.T) {
	t.Parallel()
	names := slices.Sorted(maps.Keys(disturbances))
	if !thorough {
		names = pick(t, names, 3)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			runBeside(t)
			if name == "plugins asleep" {
				needCRIU(t)
			}
			disturb := disturbances[name]
			f := newFittingWith(t, disturb.onHostExit)
			f.host = f.site.start("")
			f.carryOut(func() { disturb.happen(f) })
			f.verify()
		})
	}
}

// A host that is killed over a task at any point, at the first time that it comes there or later,
// changes nothing either.
func TestHostKilledOverOptimizer(t *testing.T) {
	t.Parallel()
	points := taskPoints
	if !thorough {
		points = pick(t, taskPoints, 2)
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			runBeside(t)
			f := newFitting(t)
			f.host = f.site.start(point)
			f.carryOut(func() {})
			f.verify()
		})
	}
}

// Plugins that are killed in the midst of their work, at times chosen by a seed, change nothing.
func TestPluginsKilledOverOptimizer(t *testing.T) {
	t.Parallel()
	runs := 1
	if thorough {
		runs = 10
	}
	for range runs {
		seed := uint64(time.Now().UnixNano())
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			runBeside(t)
			random := rand.New(rand.NewPCG(seed, 0))
			f := newFitting(t)
			f.host = f.site.start("")
			f.carryOutWith(func() {}, func() {
				<-time.After(time.Duration(random.IntN(60)) * time.Millisecond)
				f.killPlugins()
			})
			f.verify()
		})
	}
}

// newFitting returns one whose data are served until the end of the test.
func newFitting(t *testing.T) *fitting {
	t.Helper()
	return newFittingWith(t, "stop")
}

// newFittingWith is newFitting for a host with that policy on-host-exit.
func newFittingWith(t *testing.T, onHostExit string) *fitting {
	t.Helper()
	data := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, map[string]string{"/features": "[[1, 0], [0, 1], [1, 1]]", "/target": "[0.5, -2, -1.5]"}[r.URL.Path])
	}))
	t.Cleanup(data.Close)
	var plugins []string
	for _, callsign := range fitters {
		plugins = append(plugins, plugin(callsign, programs+"/"+callsign, `sleep = "checkpoint"`, `on-call = "wake"`, `restart = { policy = "always", limit = 1000, backoff = "10ms" }`))
	}
	return &fitting{
		t: t, site: newSite(t, policy(onHostExit)+fmt.Sprintf("public-url = %q\n", publicURL), plugins...),
		features: data.URL + "/features", target: data.URL + "/target",
	}
}

// carryOut leads the task to its end, as a user does, and calls disturb whenever a step is open.
func (f *fitting) carryOut(disturb func()) {
	f.t.Helper()
	f.carryOutWith(disturb, func() {})
}

// carryOutWith is carryOut that calls after when the values of a step were given. A host that has
// died is started again.
func (f *fitting) carryOutWith(disturb, after func()) {
	f.t.Helper()
	happened := ""
	for late := time.Now().Add(patience); time.Now().Before(late); {
		now, err := f.task()
		switch {
		case err != nil && f.host.dead():
			f.host.killed()
			f.host = f.site.start("")
			continue
		case err != nil: // the host begins
			<-time.After(5 * time.Millisecond)
			continue
		case now.Status != "PENDING":
			return
		}
		if len(now.Steps) > 0 {
			if step := now.Steps[len(now.Steps)-1]; !step.Cleared && !step.Submitted {
				if step.ID != happened {
					disturb()
				}
				if f.give(step.ID, step.Href) == nil && step.ID != happened {
					after()
				}
				happened = step.ID
			}
		}
		_ = f.host.ask("Tasks.get", map[string]any{"task": f.id, "revision": now.Revision, "wait": 1}, nil)
	}
	now, err := f.task()
	f.t.Fatalf("the task comes to no end: %+v, %v; the host's log is:\n%s", now, err, f.host.log.String())
}

// fittingTask is what the host says of the task.
type fittingTask struct {
	ID, Status, Reason, Log string
	Revision                uint64
	Steps                   []struct {
		ID, Href           string
		Cleared, Submitted bool
	}
	Outputs []struct{ Path string }
}

// task returns the task as it is now, which it starts if there is none.
func (f *fitting) task() (now fittingTask, err error) {
	if f.id != "" {
		err := f.host.ask("Tasks.get", map[string]any{"task": f.id}, &now)
		return now, err
	}
	var all struct{ Tasks []fittingTask }
	err = f.host.ask("Tasks.list", map[string]string{"callsign": "Optimizer"}, &all)
	switch {
	case err != nil:
		return now, err
	case len(all.Tasks) > 0:
		now = all.Tasks[0]
	default:
		parameters := map[string]string{"features": f.features, "target": f.target}
		if err := f.host.ask("Tasks.start", map[string]any{"callsign": "Optimizer", "parameters": parameters}, &now); err != nil {
			return now, err
		}
	}
	f.id = now.ID
	return now, nil
}

// give does what a step asks the user for: the form of another plugin, or values for the task.
func (f *fitting) give(step, href string) error {
	if !strings.HasSuffix(step, "_setup") {
		return f.host.ask("Tasks.submit", map[string]any{"task": f.id, "step": step}, nil)
	}
	form := url.Values{}
	if step == "minimizer_setup" {
		form.Set("confirm", "true")
	}
	here := strings.TrimSuffix(f.host.url(), "/jsonrpc")
	client := http.Client{
		Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.PostForm(strings.Replace(href, publicURL, here, 1), form)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusSeeOther {
		return errors.New(answer.Status)
	}
	return nil
}

// verify fails the test unless the task has ended as it does undisturbed.
func (f *fitting) verify() {
	f.t.Helper()
	now, err := f.task()
	must(f.t, err)
	steps := ""
	for _, s := range now.Steps {
		steps += fmt.Sprintf("%s %t ", s.ID, s.Cleared)
	}
	if now.Status != "SUCCESS" || steps != "of_setup true minimizer_setup true min.confirm true " || len(now.Outputs) != 1 {
		f.t.Fatalf("the task is %+v; the host's log is:\n%s", now, f.host.log.String())
	}
	answer, err := http.Get(strings.TrimSuffix(f.host.url(), "/jsonrpc") + "/Service/Tasks/" + now.Outputs[0].Path)
	must(f.t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if string(content) != "[0.5,-2]" || err != nil {
		f.t.Errorf("it found %q, %v", content, err)
	}
	f.host.end()
	audit(f.t, f.site, nil, "")
}
