package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"dormouse/plugins/sdk/sdktest"
	"dormouse/plugins/tasks/taskspb"
)

func TestMain(m *testing.M) { sdktest.Main(m, &minimizer{}) }

// A function at an address is minimized, although it is away for a while, and whether it answers
// at once or says where its answer will be.
func TestMinimizer(t *testing.T) {
	t.Run("at once", func(t *testing.T) { minimizeRemote(t, false) })
	t.Run("later", func(t *testing.T) { minimizeRemote(t, true) })
}

func minimizeRemote(t *testing.T, later bool) {
	t.Helper()
	var requests, looks atomic.Int32
	var result atomic.Value
	var function *httptest.Server
	function = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%5 == 2 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		switch r.URL.Path {
		case "/task":
			_, _ = fmt.Fprintf(w, `{"links": [{"type": "of-weights", "href": "%s/weights"}, {"type": "of-evaluate", "href": "%s/evaluate"}]}`, function.URL, function.URL)
		case "/weights":
			_, _ = io.WriteString(w, `{"weights": 1}`)
		case "/result":
			switch looks.Add(1) % 3 { // the first is by the redirect
			case 1:
				w.WriteHeader(http.StatusNotFound)
			case 2:
				w.WriteHeader(http.StatusNoContent)
			default:
				_, _ = io.WriteString(w, result.Load().(string)) //nolint:errcheck // it is one
			}
		default:
			var g struct{ Weights []float64 }
			if err := json.NewDecoder(r.Body).Decode(&g); err != nil {
				t.Error(err)
				return
			}
			loss := fmt.Sprintf(`{"loss": %g}`, (g.Weights[0]-1.5)*(g.Weights[0]-1.5))
			if !later {
				_, _ = io.WriteString(w, loss)
				return
			}
			result.Store(loss)
			looks.Store(0)
			http.Redirect(w, r, "/result", http.StatusSeeOther)
		}
	}))
	t.Cleanup(function.Close)
	h := sdktest.Start(t, sdktest.Options{})
	id := h.StartTask("", map[string]any{"tolerance": 0.1}).GetId()
	h.WaitStep(id, "minimize")
	if err := h.SubmitStep(id, "minimize", map[string]string{"objectiveFunction": function.URL + "/task"}); err != nil {
		t.Fatal(err)
	}
	if end := h.EndTask(id); end.GetStatus() != taskspb.Status_STATUS_SUCCESS || string(h.Output(id, "weights.json")) != "[1.5]" {
		t.Errorf("it ended %v with %s", end, h.Output(id, "weights.json"))
	}
}
