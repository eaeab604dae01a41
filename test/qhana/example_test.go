package qhana

import (
	"encoding/json"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/qhana/qhanatest"
	"dormouse/shell"
)

// The addresses of the example plugins, below that of the seed.
const (
	optimizerResource = "/plugins/optimizer@1-0-0/"
	objectiveResource = "/plugins/least-squares@1-0-0/"
	minimizerResource = "/plugins/pattern-search@1-0-0/"
)

// examples returns the instances of the example plugins.
func examples() (all []configs.Plugin) {
	for callsign, program := range map[string]string{"Optimizer": "optimizer", "LeastSquares": "least-squares", "PatternSearch": "minimizer"} {
		p := objective(callsign, configs.StartActivated)
		p.Executable = filepath.Join(bin, program)
		all = append(all, p)
	}
	return all
}

// data serves features and target of a problem, whose best weights are those, as forms have them.
func data(t *testing.T, runner *qhanatest.Runner, weights []float64) url.Values {
	t.Helper()
	features := make([][]float64, len(weights))
	for i := range features {
		features[i] = make([]float64, len(weights))
		features[i][i] = 1
	}
	form := url.Values{}
	for name, value := range map[string]any{"features": features, "target": weights} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		form.Set(name, runner.AddFile(name, qhanatest.File{ContentType: "application/json", Text: string(text)}))
	}
	return form
}

// The example optimizer leads the same conversation with plugins of its own host, of another one,
// and of QHAna's runner, and with any of them mixed.
func TestOptimizerExample(t *testing.T) {
	best := []float64{0.5, -2, 3}
	for name, c := range map[string]struct{ remoteObjective, remoteMinimizer bool }{
		"all on one host":           {false, false},
		"a minimizer elsewhere":     {false, true},
		"an objective elsewhere":    {true, false},
		"both others are elsewhere": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			runner := newRunner(t)
			h := newRigWith(t, examples())
			form := data(t, runner, best)
			if c.remoteObjective {
				form.Set("objectiveFunctionPluginSelector", newRig(t).url+"/plugins/hinge-loss@0-2-0-dev0+snapshot/")
			}
			if c.remoteMinimizer {
				form.Set("minimizerPluginSelector", runner.AddPlugin((&minimizer{runner}).plugin()))
			}
			task, err := runner.Submit(h.url+optimizerResource+"process/", form)
			if err != nil {
				t.Fatal(err)
			}
			setUp := func(step string, values url.Values) {
				t.Helper()
				if _, err := runner.Submit(formAction(t, awaitStep(t, runner, task, step).UIHref), values); err != nil {
					t.Fatal(err)
				}
			}
			if c.remoteObjective {
				setUp("of_setup", url.Values{"c": {"0.5"}})
			} else {
				setUp("of_setup", url.Values{"regularization": {"0"}})
			}
			want := []string{"of_setup x", "minimizer_setup x"}
			if c.remoteMinimizer { // the stand-in has no page
				if _, err := runner.Submit(awaitStep(t, runner, task, "minimizer_setup").Href, url.Values{"method": {"nelder_mead"}}); err != nil {
					t.Fatal(err)
				}
			} else {
				setUp("minimizer_setup", url.Values{"confirm": {"true"}})
				setUp("min.confirm", nil)
				want = append(want, "min.confirm x")
			}
			checkOptimum(t, awaitEnd(t, runner, task), best, want...)
		})
	}
}

// An objective function that ends while the user is still to set the minimizer up ends the task at
// once, with the reason.
func TestObjectiveEndsBeforeMinimizer(t *testing.T) {
	for name, end := range map[string]func(h *rig, task string) error{
		"cancelled": func(h *rig, task string) error {
			_, err := h.host.Tasks.Cancel(limited(h.t), task)
			return err
		},
		"deactivated": func(h *rig, _ string) error {
			sh, _ := h.host.Supervisor.Shell("Objective")
			return sh.Deactivate(limited(h.t), shell.Requested)
		},
	} {
		t.Run(name, func(t *testing.T) {
			runner := newRunner(t)
			h := newRigWith(t, examples())
			form := data(t, runner, []float64{1})
			form.Set("objectiveFunctionPluginSelector", "Hinge")
			task, err := runner.Submit(h.url+optimizerResource+"process/", form)
			if err != nil {
				t.Fatal(err)
			}
			of, err := runner.Submit(formAction(t, awaitStep(t, runner, task, "of_setup").UIHref), url.Values{"c": {"1"}})
			if err != nil {
				t.Fatal(err)
			}
			awaitStep(t, runner, task, "minimizer_setup")
			if err := end(h, strings.Trim(strings.TrimPrefix(of, h.url+"/tasks/"), "/")); err != nil {
				t.Fatal(err)
			}
			if record := awaitEnd(t, runner, task); record.Status != "FAILURE" || !strings.Contains(record.Log, "the objective function has failed") {
				t.Errorf("%+v", record)
			}
		})
	}
}

// QHAna's own coordinator gives the example minimizer the example objective function.
func TestExamplesWithCoordinator(t *testing.T) {
	best := []float64{1, -0.25}
	runner := newRunner(t)
	h := newRigWith(t, examples())
	pluginAt := func(resource string) qhanatest.Plugin {
		return qhanatest.Plugin{Href: h.url + resource + "process/", UIHref: h.url + resource + "ui/"}
	}
	c := &coordinator{runner: runner, objective: pluginAt(objectiveResource), minimizer: pluginAt(minimizerResource)}
	task, err := runner.Submit(runner.AddPlugin(c.plugin())+"process/", data(t, runner, best))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"of_setup", "minimizer_setup"} {
		if _, err := runner.Submit(formAction(t, awaitStep(t, runner, task, step).UIHref), nil); err != nil {
			t.Fatal(err)
		}
	}
	checkOptimum(t, awaitEnd(t, runner, task), best, "of_setup x", "minimizer_setup x")
}

// checkOptimum checks that a task has succeeded with these steps, and left the best weights.
func checkOptimum(t *testing.T, end qhanatest.TaskRecord, best []float64, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, steps(end)); diff != "" || end.Status != "SUCCESS" || len(end.Outputs) != 1 {
		t.Fatalf("%+v (-want +got):\n%s", end, diff)
	}
	status, _, text := get(t, end.Outputs[0].Href)
	if status != 200 || !isNear(t, text, best) {
		t.Errorf("the weights are %s, not %v", text, best)
	}
}
