package qhana

import (
	"cmp"
	"net/http"

	"dormouse/plugins/qhana/forms"
	"dormouse/plugins/tasks/taskspb"
)

// submit gives the values in the body to a step, and redirects to its task.
func (q *QHAna) submit(w http.ResponseWriter, r *http.Request, t *taskspb.Task, s *taskspb.Step) {
	schema, err := forms.Parse(s.GetSchema())
	if err != nil {
		respondProblem(w, http.StatusInternalServerError, "the step has no usable schema: "+err.Error())
		return
	}
	values, ok := readValues(w, r, schema)
	if !ok {
		return
	}
	if len(values.errors) > 0 {
		values.respondWrong(w, r, schema, q.stepPage(t, s))
		return
	}
	if err := q.Tasks.Submit(r.Context(), t.GetId(), s.GetId(), values.values); err != nil {
		q.respondRefused(w, r, err, values, schema, q.stepPage(t, s))
		return
	}
	redirect(w, http.StatusSeeOther, q.taskAddress(t.GetId()))
}

// stepPage returns the page with the form for a step's values.
func (q *QHAna) stepPage(t *taskspb.Task, s *taskspb.Step) forms.Page {
	return forms.Page{Title: cmp.Or(s.GetTitle(), s.GetId()), Description: t.GetTitle(), Action: q.stepResource(t, s).Href}
}

// serveStepForm answers with a form for a step's values.
func (q *QHAna) serveStepForm(w http.ResponseWriter, _ *http.Request, t *taskspb.Task, s *taskspb.Step) {
	schema, err := forms.Parse(s.GetSchema())
	if err != nil {
		respondProblem(w, http.StatusInternalServerError, "the step has no usable schema: "+err.Error())
		return
	}
	respondPage(w, http.StatusOK, schema, q.stepPage(t, s))
}
