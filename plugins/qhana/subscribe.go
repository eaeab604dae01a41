package qhana

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"

	"dormouse/plugins/qhana/forms"
)

// events are the events that a subscription may be to.
var events = []string{"status", "steps", "details"}

// command is the body of a request to a task.
type command struct {
	Command     string          `json:"command"`
	WebhookHref string          `json:"webhookHref"`
	Event       json.RawMessage `json:"event"`
	Secret      string          `json:"secret"`

	event string
}

// subscribe adds a subscription to a task, or removes some, and answers with the task.
func (q *QHAna) subscribe(w http.ResponseWriter, r *http.Request, task string) {
	c, wrong := readCommand(r)
	if len(wrong) > 0 {
		respondErrors(w, "json", wrong)
		return
	}
	self := q.selfOf(r, task)
	var err error
	if c.Command == "subscribe" {
		err = q.Tasks.Subscribe(r.Context(), task, Subscription{URL: c.WebhookHref, Event: c.event, Source: self, Secret: c.Secret})
	} else {
		err = q.Tasks.Unsubscribe(r.Context(), task, c.WebhookHref, c.event, c.Event == nil)
	}
	if err != nil && q.Tasks.HTTPStatus(err) == http.StatusUnprocessableEntity {
		respondErrors(w, "json", forms.Errors{"webhookHref": {err.Error()}})
		return
	}
	if err != nil {
		q.respondError(w, err)
		return
	}
	t, err := q.Tasks.Get(r.Context(), task, 0, 0)
	if err != nil {
		q.respondError(w, err)
		return
	}
	respondJSON(w, http.StatusOK, q.taskResource(t, self))
}

// readCommand returns the command in the body of a request, of any content type, or what is wrong
// with it.
func readCommand(r *http.Request) (c command, wrong forms.Errors) {
	wrong = forms.Errors{}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, &c)
	}
	if err != nil {
		wrong[forms.Whole] = []string{"Invalid input type: a JSON object is needed."}
		return c, wrong
	}
	if c.Command != "subscribe" && c.Command != "unsubscribe" {
		wrong["command"] = []string{"Must be one of: subscribe, unsubscribe."}
	}
	if !isWebhook(c.WebhookHref) {
		wrong["webhookHref"] = []string{"Not a valid URL."}
	}
	if c.Event != nil && !bytes.Equal(c.Event, []byte("null")) {
		if err := json.Unmarshal(c.Event, &c.event); err != nil || !slices.Contains(events, c.event) {
			wrong["event"] = []string{"Must be one of: status, steps, details."}
		}
	}
	return c, wrong
}
