package tasks

import (
	"encoding/json"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/plugins/tasks/taskspb"
)

// taskRecord is a task as clients of JSON-RPC see it.
type taskRecord struct {
	ID        string          `json:"id"`
	Callsign  string          `json:"callsign"`
	Address   string          `json:"address,omitempty"`
	Title     string          `json:"title,omitempty"`
	Status    string          `json:"status"`
	Reason    string          `json:"reason,omitempty"`
	Revision  uint64          `json:"revision"`
	Created   time.Time       `json:"created"`
	Started   *time.Time      `json:"started,omitempty"`
	Changed   time.Time       `json:"changed"`
	Finished  *time.Time      `json:"finished,omitempty"`
	Log       string          `json:"log,omitempty"`
	Progress  *progressRecord `json:"progress,omitempty"`
	Params    json.RawMessage `json:"parameters,omitempty"`
	Steps     []stepRecord    `json:"steps,omitempty"`
	Outputs   []outputRecord  `json:"outputs,omitempty"`
	Links     []linkRecord    `json:"links,omitempty"`
	Waits     bool            `json:"waits,omitempty"`
	Stuck     bool            `json:"stuck,omitempty"`
	Cancelled bool            `json:"cancelled,omitempty"`
	Resumed   uint32          `json:"resumed,omitempty"`
}

// progressRecord is how far a task is.
type progressRecord struct {
	Value  float64 `json:"value"`
	Start  float64 `json:"start"`
	Target float64 `json:"target"`
	Unit   string  `json:"unit,omitempty"`
}

// stepRecord is a step of a task.
type stepRecord struct {
	ID        string          `json:"id"`
	Title     string          `json:"title,omitempty"`
	Href      string          `json:"href,omitempty"`
	UI        string          `json:"ui,omitempty"`
	Schema    json.RawMessage `json:"schema,omitempty"`
	Cleared   bool            `json:"cleared"`
	Submitted bool            `json:"submitted,omitempty"`
}

// outputRecord is a file of a task. It is read at the path below /Service/Tasks.
type outputRecord struct {
	Name        string `json:"name"`
	Path        string `json:"path"`
	ContentType string `json:"contenttype,omitempty"`
	DataType    string `json:"datatype,omitempty"`
	Size        int64  `json:"size"`
	Digest      string `json:"digest"`
}

// linkRecord is an end point of a task.
type linkRecord struct {
	Type string `json:"type"`
	Href string `json:"href"`
}

// recordOf returns a task as clients of JSON-RPC see it.
func recordOf(t *taskspb.Task) taskRecord {
	r := taskRecord{
		ID: t.GetId(), Callsign: t.GetCallsign(), Address: t.GetAddress(), Title: t.GetTitle(), Status: statusWord(t.GetStatus()), Reason: t.GetReason(),
		Revision: t.GetRevision(), Created: t.GetCreated().AsTime(), Started: timeOf(t.GetStarted()), Changed: t.GetChanged().AsTime(),
		Finished: timeOf(t.GetFinished()), Log: t.GetLog(), Params: t.GetParameters(), Waits: t.GetWaits(), Stuck: t.GetStuck(),
		Cancelled: t.GetCancelled(), Resumed: t.GetResumed(),
	}
	if p := t.GetProgress(); p != nil {
		r.Progress = &progressRecord{p.GetValue(), p.GetStart(), p.GetTarget(), p.GetUnit()}
	}
	for _, s := range t.GetSteps() {
		r.Steps = append(r.Steps, stepRecord{s.GetId(), s.GetTitle(), s.GetHref(), s.GetUi(), s.GetSchema(), s.GetCleared(), s.GetSubmitted()})
	}
	for _, o := range t.GetOutputs() {
		r.Outputs = append(r.Outputs, outputRecord{o.GetName(), t.GetId() + "/" + o.GetKey(), o.GetContentType(), o.GetDataType(), o.GetSize(), o.GetDigest()})
	}
	for _, l := range t.GetLinks() {
		r.Links = append(r.Links, linkRecord{l.GetType(), l.GetHref()})
	}
	return r
}

// timeOf returns the time, nil for none.
func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}
