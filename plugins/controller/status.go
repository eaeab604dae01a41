package controller

import (
	"cmp"
	"context"
	"path/filepath"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// serveStatus answers with the record of the instance that the index names, with its
// history, or with the records of all.
func serveStatus(_ context.Context, r request) (any, error) {
	if r.index != "" {
		sh, ok := r.front.supervisor.Shell(r.index)
		if !ok {
			return nil, thunder.NewError(thunder.UnknownKey, r.front.supervisor.WhyMissing(r.index))
		}
		st := sh.Status()
		one := r.front.instanceRecord(st)
		one.History = historyRecords(st)
		one.Why = r.front.supervisor.ExplainBriefly(r.index)
		return r.dialect().StatusByCallsign(r.recordForCaller(one)), nil
	}
	all := []any{}
	for _, sh := range r.front.supervisor.Shells() {
		all = append(all, r.dialect().StatusInList(r.recordForCaller(r.front.instanceRecord(sh.Status()))))
	}
	return all, nil
}

// recordForCaller returns the record, without its details if the caller may not see them.
func (r request) recordForCaller(record dialect.Record) dialect.Record {
	if r.seesDetailsOf(record.Callsign) {
		return record
	}
	return record.WithoutDetails()
}

// instanceRecord returns the status of an instance as clients see it, without its
// history.
func (f *Front) instanceRecord(st shell.Status) dialect.Record {
	r := dialect.Record{
		Callsign:          st.Config.Callsign,
		Locator:           st.Config.Executable,
		ClassName:         cmp.Or(st.Information.Class, programNameOrCallsign(st.Config)),
		Module:            programNameOrCallsign(st.Config),
		State:             stateInThunderWords(st),
		StartMode:         string(st.Config.StartMode),
		AutoStart:         st.Config.StartMode == configs.StartActivated,
		Resumed:           st.Config.StartsResumed(),
		StartupOrder:      st.Config.StartupOrder,
		WebUI:             st.Config.WebUI,
		Preconditions:     st.Preconditions(),
		Terminations:      st.Terminations(),
		Controls:          st.ControlledSubsystems(),
		Configuration:     st.Config.ConfigurationJSON(),
		Version:           dialect.Version{Version: st.Information.Version},
		ProcessedRequests: f.callCounts.countOf(st.Config.Callsign),
		Observers:         f.events.subscriptionCount(st.Config.Callsign),
		Additions: dialect.Additions{
			PID:    st.Figures.PID,
			Memory: st.Figures.Memory,
			Reason: thunder.PascalCase(string(st.Reason)),
			Since:  utcTimestamp(st.Since),
			Error:  errorTextOrEmpty(st.Err),
		},
	}
	if st.Config.Executable != "" {
		r.Communicator, r.Postfix = f.options.Host.Communicator, st.Config.Callsign
	}
	if f.options.RestartsOf != nil {
		r.Restarts = f.options.RestartsOf(st.Config.Callsign)
	}
	if source, ok := f.supervisor.CloneSource(st.Config.Callsign); ok {
		r.Clone = &dialect.Clone{Of: source.Of, Gone: source.Gone, Own: source.Own}
	}
	r.Parent = f.supervisor.ParentOf(st.Config.Callsign)
	r.Package, _ = f.supervisor.SourceOf(cmp.Or(r.Parent, st.Config.Callsign))
	r.Lost = lossRecords(f.supervisor.LossesOf(st.Config.Callsign))
	if st.Sleep != nil {
		r.Image = &dialect.Image{Engine: st.Sleep.Engine, Bytes: st.Sleep.Bytes, Created: utcTimestamp(st.Sleep.Since)}
	}
	if st.StartedFrom != nil {
		r.Warm = &dialect.WarmStart{Created: utcTimestamp(st.StartedFrom.Created), Generation: st.StartedFrom.Generation}
	}
	if st.State.IsInSleepCycle() && st.State.IsTransitional() {
		r.Transition = st.State
		r.Progress = &st.Progress
	}
	if loading := st.Figures.Loading; loading.Total > 0 {
		r.Loading = &loading
	}
	r.ImageRead = st.Figures.ImageRead
	return r
}

// programNameOrCallsign returns the name of the instance's program, for a built-in its
// callsign.
func programNameOrCallsign(c configs.Plugin) string {
	if c.Executable == "" {
		return c.Callsign
	}
	return filepath.Base(c.Executable)
}

// stateInThunderWords returns the state in Thunder's words, in lower case; for an active
// instance with state control, suspended or resumed. A state that Thunder does not have
// shows as the one before it.
func stateInThunderWords(st shell.Status) string {
	switch st.State {
	case shell.Waking:
		return string(shell.Hibernated)
	case shell.Activated, shell.Hibernating:
		switch st.Control {
		case "":
			return string(shell.Activated)
		case statecontrol.Resumed:
			return string(statecontrol.Resumed)
		default:
			return string(statecontrol.Suspended)
		}
	default:
		return string(st.State)
	}
}

// historyRecords returns the history of an instance, oldest transition first.
func historyRecords(st shell.Status) []dialect.Transition {
	var h []dialect.Transition
	for _, t := range st.History {
		h = append(h, dialect.Transition{
			At:      utcTimestamp(t.At),
			Event:   t.Event,
			From:    t.From,
			To:      t.To,
			Reason:  thunder.PascalCase(string(t.Reason)),
			Control: t.Control,
			Error:   cutErrorText(errorTextOrEmpty(t.Err)),
		})
	}
	return h
}

// errorTextOrEmpty returns the text of err, empty for nil.
func errorTextOrEmpty(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// maxHistoryError is how many bytes of an error a row of the history has, so that many ends
// with last words don't make a long answer.
const maxHistoryError = 1 << 10

// cutErrorText returns at most maxHistoryError bytes of the text and an ellipsis.
func cutErrorText(text string) string {
	if len(text) <= maxHistoryError {
		return text
	}
	return strings.ToValidUTF8(text[:maxHistoryError], "") + "…"
}

// utcTimestamp returns a time as clients read it, in UTC with milliseconds.
func utcTimestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
