package qhana

import (
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/plugins/qhana/forms"
	"dormouse/plugins/tasks/taskspb"
)

// taskResource is a task. QHAna's backend reads steps and progress into closed records: they have
// exactly these members. What is ours stands at the top.
type taskResource struct {
	Status   string    `json:"status"`
	Log      string    `json:"log"`
	Progress *progress `json:"progress,omitempty"` // absent until it is set
	Steps    []step    `json:"steps"`
	Outputs  []output  `json:"outputs"`
	Links    []link    `json:"links"`

	TaskID    string `json:"taskId"`
	Title     string `json:"title,omitempty"`
	Callsign  string `json:"callsign"`
	Revision  uint64 `json:"revision"`
	Reason    string `json:"reason,omitempty"`
	Created   string `json:"created,omitempty"`
	Started   string `json:"started,omitempty"`
	Finished  string `json:"finished,omitempty"`
	Stuck     bool   `json:"stuck,omitempty"`
	Cancelled bool   `json:"cancelled,omitempty"`
}

// progress is how far a task is.
type progress struct {
	Value  float64 `json:"value"`
	Start  float64 `json:"start"`
	Target float64 `json:"target"`
	Unit   string  `json:"unit"`
}

// step is a step of a task in its resource.
type step struct {
	StepID  string `json:"stepId"`
	Href    string `json:"href"`
	UIHref  string `json:"uiHref"`
	Cleared bool   `json:"cleared"`
}

// output is a file of a task.
type output struct {
	Href        string `json:"href"`
	DataType    string `json:"dataType"`
	ContentType string `json:"contentType"`
	Name        string `json:"name"`
}

// statusWords are QHAna's words for the states of a task.
var statusWords = map[taskspb.Status]string{
	taskspb.Status_STATUS_PENDING: "PENDING",
	taskspb.Status_STATUS_SUCCESS: "SUCCESS",
	taskspb.Status_STATUS_FAILURE: "FAILURE",
}

// taskResource returns the task as its resource shows it to a client that knows it under the
// address self.
func (q *QHAna) taskResource(t *taskspb.Task, self string) taskResource {
	r := taskResource{
		Status: statusWords[t.GetStatus()], Log: t.GetLog(), Steps: []step{}, Outputs: []output{}, Links: q.linksOf(t, self),
		TaskID: t.GetId(), Title: t.GetTitle(), Callsign: t.GetCallsign(), Revision: t.GetRevision(), Reason: t.GetReason(),
		Created: timeText(t.GetCreated()), Started: timeText(t.GetStarted()), Finished: timeText(t.GetFinished()),
		Stuck: t.GetStuck(), Cancelled: t.GetCancelled(),
	}
	if p := t.GetProgress(); p != nil {
		r.Progress = &progress{p.GetValue(), p.GetStart(), p.GetTarget(), p.GetUnit()}
	}
	for _, s := range t.GetSteps() {
		r.Steps = append(r.Steps, q.stepResource(t, s))
	}
	if t.GetStatus() == taskspb.Status_STATUS_PENDING {
		return r
	}
	for _, o := range t.GetOutputs() {
		href := q.taskAddress(t.GetId(), "outputs", o.GetKey(), o.GetName())
		r.Outputs = append(r.Outputs, output{href[:len(href)-1], o.GetDataType(), o.GetContentType(), o.GetName()})
	}
	return r
}

// linksOf returns the links of a task: to itself for subscriptions, and its own.
func (q *QHAna) linksOf(t *taskspb.Task, self string) []link {
	links := []link{{"subscribe", self}, {"subscription", self}}
	if t.GetStatus() == taskspb.Status_STATUS_PENDING {
		links = append(links, link{"cancel", q.taskAddress(t.GetId(), "cancel")})
	}
	for _, l := range t.GetLinks() {
		links = append(links, link{l.GetType(), q.webAddress(t.GetCallsign(), l.GetHref())})
	}
	return links
}

// stepResource returns the step of a task as its resource shows it.
func (q *QHAna) stepResource(t *taskspb.Task, s *taskspb.Step) step {
	callsign, task, id := t.GetCallsign(), t.GetId(), s.GetId()
	if of := s.GetOf(); of != nil {
		callsign, task, id = of.GetCallsign(), of.GetTask(), of.GetStep()
	}
	r := step{StepID: s.GetId(), Href: q.webAddress(callsign, s.GetHref()), UIHref: s.GetUi(), Cleared: s.GetCleared()}
	if s.GetHref() == "" {
		r.Href = q.taskAddress(task, "steps", id)
	}
	if !isAbsolute(r.UIHref) {
		r.UIHref = q.taskAddress(task, "steps", id, "ui")
	}
	return r
}

// timeText returns a time for JSON, empty for none.
func timeText(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339Nano)
}

// selfOf returns the address of a task as the client of the request spells it.
func (q *QHAna) selfOf(r *http.Request, task string) string {
	return address(q.spelledBase(r), "tasks", task)
}

// maxWait is the longest that a request may wait for a change.
const maxWait = time.Hour

// serveTask answers with a task. With the query parameter wait, in seconds, it answers when the
// task is newer than the parameter revision, or than it was, or the time is over.
func (q *QHAna) serveTask(w http.ResponseWriter, r *http.Request, t *taskspb.Task) {
	query := r.URL.Query()
	if text := query.Get("wait"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if inRange := seconds >= 0 && seconds <= maxWait.Seconds(); err != nil || !inRange {
			respondErrors(w, "query", forms.Errors{"wait": {"Not a number of seconds up to 3600."}})
			return
		}
		revision := t.GetRevision()
		if text := query.Get("revision"); text != "" {
			if revision, err = strconv.ParseUint(text, 10, 64); err != nil {
				respondErrors(w, "query", forms.Errors{"revision": {"Not a valid integer."}})
				return
			}
		}
		if t, err = q.Tasks.Get(r.Context(), t.GetId(), revision, time.Duration(seconds*float64(time.Second))); err != nil {
			q.respondError(w, err)
			return
		}
	}
	respondJSON(w, http.StatusOK, q.taskResource(t, q.selfOf(r, t.GetId())))
}

// cancel asks for the end of a task, and answers with it.
func (q *QHAna) cancel(w http.ResponseWriter, r *http.Request, task string) {
	if err := q.Tasks.Cancel(r.Context(), task); err != nil {
		q.respondError(w, err)
		return
	}
	redirect(w, http.StatusSeeOther, q.taskAddress(task))
}
