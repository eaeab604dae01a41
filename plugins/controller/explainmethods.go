package controller

import (
	"context"
	"time"

	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/supervisor"
)

// explainMethods returns the methods that say why something is as it is: explain, missing
// and store. Thunder has none of them.
func explainMethods() []method {
	return []method{{
		name: "missing", access: access.Read, form: property,
		result: []leftOutRecord{}, returns: "the files, where their faults are, and the callsigns that are missing; not complete means that there may be others",
		doc:   "The configuration files that were left out when the host started. A reload that succeeds ends that.",
		serve: serveMissing,
	}, {
		name: "store", access: access.Read, form: property,
		result: storeRecord{}, returns: "what was found damaged since the start, empty for nothing, and what to do about that; when all of the file was found in order; and whether this start made a new file, because there was none or it was damaged",
		doc:   "The state of the host's store, which is checked beside the work after each start, and every day. One that is damaged is rebuilt by the next start.",
		serve: serveStore,
	}, {
		name: "explain", access: access.Read, form: property, index: "the callsign", about: indexedInstance,
		result: dialect.Explanation{}, returns: "what keeps the instance awake, when it will sleep and what that would save",
		doc:    "Explains why an instance is awake or asleep, and what would stop a hibernation.",
		errors: []thunder.ErrorNumber{thunder.BadRequest, thunder.UnknownKey},
		serve:  serveExplain,
	}}
}

// leftOutRecord is a file that was left out of the configuration, as clients see it.
type leftOutRecord struct {
	File      string   `json:"file"`
	Faults    string   `json:"faults"`
	Callsigns []string `json:"callsigns"`
	Complete  bool     `json:"complete"`
}

// serveMissing answers with the files that were left out of the configuration.
func serveMissing(_ context.Context, r request) (any, error) {
	all := []leftOutRecord{}
	for _, f := range r.front.supervisor.LeftOut() {
		all = append(all, leftOutRecord{f.Path, f.Places(), append([]string{}, f.Callsigns...), f.IsComplete})
	}
	return all, nil
}

// storeRecord is the state of the host's store, as clients see it.
type storeRecord struct {
	Damage  string     `json:"damage"`
	Mend    string     `json:"mend,omitempty"`
	Checked *time.Time `json:"checked,omitempty"`
	Rebuilt bool       `json:"rebuilt"`
}

// serveStore answers with the state of the host's store.
func serveStore(_ context.Context, r request) (any, error) {
	var record storeRecord
	if r.front.options.StoreHealth == nil {
		return record, nil
	}
	h := r.front.options.StoreHealth()
	record.Damage, record.Mend, record.Rebuilt = h.Damage, h.Mend, h.Rebuilt
	if !h.Checked.IsZero() {
		record.Checked = &h.Checked
	}
	return record, nil
}

// serveExplain answers with the explanation of the instance that the index names.
func serveExplain(_ context.Context, r request) (any, error) {
	if r.index == "" {
		return nil, thunder.NewError(thunder.BadRequest, nil)
	}
	e, err := r.front.supervisor.Explain(r.index)
	if err != nil {
		return nil, thunder.NewError(thunder.UnknownKey, r.front.supervisor.WhyMissing(r.index))
	}
	x := explanationRecord(e)
	if !r.seesDetailsOf(r.index) {
		x = x.WithoutDetails()
	}
	return x, nil
}

// explanationRecord returns the supervisor's explanation as clients see it.
func explanationRecord(e supervisor.Explanation) dialect.Explanation {
	x := dialect.Explanation{
		Callsign: e.Callsign, State: e.State, Why: e.Why, Keeps: e.Keeps, Saves: e.Saves, Resumes: e.Resumes,
		Obstacle: errorTextOrEmpty(e.Obstacle), Cold: errorTextOrEmpty(e.NoGolden), Failure: errorTextOrEmpty(e.Failure),
	}
	if e.Loading.Total > 0 {
		x.Loading = &e.Loading
	}
	if e.Next != nil {
		x.Next = &dialect.NextSleep{Do: e.Next.Do, At: utcTimestamp(e.Next.At), Because: e.Next.Because, DryRun: e.Next.DryRun}
	}
	if !e.LastUse.IsZero() {
		x.LastUse = utcTimestamp(e.LastUse)
	}
	if !e.Retry.IsZero() {
		x.Retry = utcTimestamp(e.Retry)
	}
	if e.Golden != nil {
		x.Golden = &dialect.Image{Engine: e.Golden.Engine, Bytes: e.Golden.Bytes, Created: utcTimestamp(e.Golden.Created)}
	}
	return x
}
