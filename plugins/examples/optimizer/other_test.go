package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"dormouse/plugins/tasks/taskspb"
)

// Values for a step elsewhere are given once, whatever becomes of the answers.
func TestSubmitElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		trouble func(http.ResponseWriter) // at the first request, after which the step has its values
		takes   bool
		want    bool
	}{
		"answered":              {func(http.ResponseWriter) {}, true, true},
		"the answer is lost":    {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, true, true},
		"busy at first":         {func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }, false, true},
		"refused":               {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadRequest) }, false, false},
		"given by another life": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusConflict) }, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var given []string
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					_, _ = fmt.Fprintf(w, `{"steps": [{"stepId": "pass_data", "cleared": %v}]}`, len(given) > 0)
					return
				}
				asked++
				switch {
				case len(given) > 0:
					w.WriteHeader(http.StatusConflict)
				case test.takes || test.want && asked > 1:
					given = append(given, r.FormValue("features"))
				}
				if asked == 1 {
					test.trouble(w)
				}
			}))
			defer server.Close()
			step := &taskspb.Step{Id: "pass_data", Href: server.URL + "/step"}
			err := (&optimizer{}).submit(t.Context(), &taskspb.Task{Id: server.URL + "/task"}, step, map[string]string{"features": "x"})
			if (err == nil) != test.want {
				t.Errorf("error %v", err)
			}
			if test.want && (len(given) != 1 || given[0] != "x") {
				t.Errorf("given %v", given)
			}
		})
	}
}
