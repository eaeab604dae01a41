package controller

import (
	"context"

	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/supervisor"
)

// explainMethods returns the one method that explains why an instance is awake or
// asleep. Thunder has no such method.
func explainMethods() []method {
	return []method{{
		name: "explain", access: accessRead, form: property, index: "the callsign",
		result: explanation{}, returns: "what keeps the instance awake, when it will sleep and what that would save",
		doc:    "Explains why an instance is awake or asleep, and what would stop a hibernation.",
		errors: []thunder.Number{thunder.BadRequest, thunder.UnknownKey},
		serve:  serveExplain,
	}}
}

// explanation is why an instance is awake or asleep, and what happens next.
type explanation struct {
	Callsign string      `json:"callsign"`
	State    shell.State `json:"state"`
	Why      string      `json:"why"`
	Keeps    []string    `json:"keepsawake,omitempty"`
	Next     *nextSleep  `json:"next,omitempty"`
	LastUse  string      `json:"lastuse,omitempty"`
	Saves    int64       `json:"saves,omitempty"`
	// Loading is left out once all of the memory is loaded.
	Loading  *shell.Progress `json:"loading,omitempty"`
	Obstacle string          `json:"obstacle,omitempty"`
	Failure  string          `json:"failure,omitempty"`
	Retry    string          `json:"retry,omitempty"`
	Resumes  bool            `json:"resumes,omitempty"`
	// Golden is the image that the next start begins from. Cold is why the next
	// start is a cold one. Both are empty without warm-start.
	Golden *dialect.Image `json:"golden,omitempty"`
	Cold   string         `json:"cold,omitempty"`
}

// nextSleep is what the idle policy will do next, when and why.
type nextSleep struct {
	Do      string `json:"do"`
	At      string `json:"at"`
	Because string `json:"because"`
	DryRun  bool   `json:"dryrun,omitempty"`
}

func serveExplain(_ context.Context, r request) (any, error) {
	if r.index == "" {
		return nil, thunder.NewError(thunder.BadRequest, nil)
	}
	e, err := r.front.supervisor.Explain(r.index)
	if err != nil {
		return nil, thunder.NewError(thunder.UnknownKey, nil)
	}
	return explanationRecord(e), nil
}

// explanationRecord returns the supervisor's explanation as clients see it.
func explanationRecord(e supervisor.Explanation) explanation {
	x := explanation{
		Callsign: e.Callsign, State: e.State, Why: e.Why, Keeps: e.Keeps, Saves: e.Saves, Resumes: e.Resumes,
		Obstacle: errorText(e.Obstacle), Cold: errorText(e.NoGolden), Failure: errorText(e.Failure),
	}
	if e.Loading.Total > 0 {
		x.Loading = &e.Loading
	}
	if e.Next != nil {
		x.Next = &nextSleep{e.Next.Do, timestamp(e.Next.At), e.Next.Because, e.Next.DryRun}
	}
	if !e.LastUse.IsZero() {
		x.LastUse = timestamp(e.LastUse)
	}
	if !e.Retry.IsZero() {
		x.Retry = timestamp(e.Retry)
	}
	if e.Golden != nil {
		x.Golden = &dialect.Image{Engine: e.Golden.Engine, Bytes: e.Golden.Bytes, Created: timestamp(e.Golden.Created)}
	}
	return x
}
