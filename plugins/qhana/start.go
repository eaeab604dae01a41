package qhana

import (
	"cmp"
	"net/http"
	"net/url"

	"dormouse/plugins/qhana/forms"
	"dormouse/shell"
)

// entry returns the entry point of a plugin, one without parameters if it has none.
func (p listed) entry() shell.EntryPoint {
	if p.Profile.Entry == nil {
		return shell.EntryPoint{}
	}
	return *p.Profile.Entry
}

// inputs returns the schema of the parameters of a plugin's work.
func (p listed) inputs() (*forms.Schema, error) {
	entry := p.entry()
	var inputs []forms.Input
	for _, d := range entry.DataInputs {
		inputs = append(inputs, forms.Input{Name: d.Name, Required: d.Required})
	}
	return forms.Parse(entry.Schema, inputs...)
}

// start starts work of the plugin with the values in the body, and redirects to the new task. With
// the query parameter callback the task has a subscription to all events before the answer.
func (q *QHAna) start(w http.ResponseWriter, r *http.Request, p listed) {
	schema, err := p.inputs()
	if err != nil {
		respondProblem(w, http.StatusInternalServerError, "the plugin has no usable schema: "+err.Error())
		return
	}
	callback := r.URL.Query().Get("callback")
	if callback != "" && !isWebhook(callback) {
		respondErrors(w, "query", forms.Errors{"callback": {"Not a valid URL."}})
		return
	}
	values, ok := readValues(w, r, schema)
	if !ok {
		return
	}
	if len(values.errors) > 0 {
		values.respondWrong(w, r, schema, q.startPage(p, callback))
		return
	}
	t, err := q.Tasks.Start(r.Context(), p.Callsign, cmp.Or(p.Profile.Title, p.name), values.values, callback)
	if err != nil {
		q.respondRefused(w, r, err, values, schema, q.startPage(p, callback))
		return
	}
	redirect(w, http.StatusSeeOther, q.taskAddress(t.GetId()))
}

// startPage returns the page with the form for a plugin's parameters.
func (q *QHAna) startPage(p listed, callback string) forms.Page {
	resource := q.resourceOf(p)
	return forms.Page{Title: resource.Title, Description: resource.Description, Action: withCallback(resource.EntryPoint.Href, callback)}
}

// serveStartForm answers with a form for the plugin's parameters. A parameter callback is kept in
// the address to which the form is sent.
func (q *QHAna) serveStartForm(w http.ResponseWriter, r *http.Request, p listed) {
	schema, err := p.inputs()
	if err != nil {
		respondProblem(w, http.StatusInternalServerError, "the plugin has no usable schema: "+err.Error())
		return
	}
	respondPage(w, http.StatusOK, schema, q.startPage(p, r.URL.Query().Get("callback")))
}

// isWebhook reports whether the text is a URL that a webhook may have, as far as its form says.
func isWebhook(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

// respondRefused answers with an error of the tasks, which may be that the values are not taken.
func (q *QHAna) respondRefused(w http.ResponseWriter, r *http.Request, err error, values sent, schema *forms.Schema, page forms.Page) {
	if q.Tasks.HTTPStatus(err) != http.StatusUnprocessableEntity {
		q.respondError(w, err)
		return
	}
	values.errors = forms.Errors{forms.Whole: {err.Error()}}
	values.respondWrong(w, r, schema, page)
}

// respondError answers with an error of the tasks.
func (q *QHAna) respondError(w http.ResponseWriter, err error) {
	status := q.Tasks.HTTPStatus(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	respondProblem(w, status, err.Error())
}
