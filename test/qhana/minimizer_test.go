package qhana

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"dormouse/plugins/qhana/qhanatest"
)

// minimizer is a stand-in of QHAna's SciPy minimizer: it asks an objective function for losses until
// they do not get smaller.
type minimizer struct{ runner *qhanatest.Runner }

// plugin returns the minimizer as a plugin of a runner.
func (m *minimizer) plugin() qhanatest.RunnerPlugin {
	return qhanatest.RunnerPlugin{
		Name: "scipy-minimizer", Version: "0.1.0", Tags: []string{"minimizer"},
		Start: func(t *qhanatest.Task, form url.Values) {
			if form.Get("method") == "" {
				t.Finish("no method")
				return
			}
			t.AddStep(qhanatest.Step{StepID: "minimize", Href: t.StepURL("minimize"), UIHref: t.StepURL("minimize")})
		},
		Step: func(t *qhanatest.Task, _ string, form url.Values) {
			t.Log("begins") // an event that the coordinator does not care for
			weights, err := m.minimize(form.Get("objectiveFunction"))
			if err != nil {
				t.Finish(err.Error())
				return
			}
			text, _ := json.Marshal(weights)
			href := m.runner.AddFile("weights", qhanatest.File{ContentType: "application/json", Text: string(text)})
			t.Finish("", qhanatest.Output{Href: href, DataType: "entity/vector", ContentType: "application/json", Name: "weights.json"})
		},
	}
}

// minimize returns the weights at which the loss of the task's objective function is smallest.
func (m *minimizer) minimize(task string) ([]float64, error) {
	record, err := m.runner.Get(task)
	if err != nil {
		return nil, err
	}
	var size struct{ Weights int }
	if err := m.ask(http.MethodGet, record.Link("of-weights"), nil, &size); err != nil {
		return nil, err
	}
	weights, evaluate := make([]float64, size.Weights), record.Link("of-evaluate")
	loss := func() (float64, error) {
		var answer struct{ Loss float64 }
		err := m.ask(http.MethodPost, evaluate, map[string]any{"weights": weights}, &answer)
		return answer.Loss, err
	}
	best, err := loss()
	for step := 1.0; step > 1e-3 && err == nil; {
		improved := false
		for i := range weights {
			for _, move := range []float64{step, -step} {
				weights[i] += move
				var now float64
				if now, err = loss(); err != nil {
					return nil, err
				}
				if now < best {
					best, improved = now, true
					break
				}
				weights[i] -= move
			}
		}
		if !improved {
			step /= 2
		}
	}
	return weights, err
}

// ask sends a request with a JSON body, and reads the answer.
func (m *minimizer) ask(method, address string, body, answer any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequest(method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := m.runner.Client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(answer)
}
