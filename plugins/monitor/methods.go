package monitor

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// method is one method of the Monitor.
type method struct {
	// access is the role that a caller needs. To write a variable the caller needs
	// writeAccess, which is access.None for a method that can't be written.
	access, writeAccess access.Role
	// observable returns the callsign of the observable that a call is about, empty for
	// all of them.
	observable func(shell.Call) string
	// serve returns the result, which is encoded as JSON.
	serve func(*watch, shell.Call) (any, error)
}

// methods are the methods of Thunder's old interface, then of its new one, by name.
var methods = map[string]method{
	"status":        {access: access.Read, observable: indexOf, serve: serveStatusRecords},
	"restartlimits": {access: access.Operate, observable: callsignInParams, serve: serveSetRestartLimits},
	"resetstats":    {access: access.Operate, observable: callsignInParams, serve: serveStatusRecordAndReset},

	"observables":      {access: access.Read, observable: allObservables, serve: serveObservables},
	"measurementdata":  {access: access.Read, observable: indexOf, serve: serveStatistics},
	"restartinglimits": {access: access.Read, writeAccess: access.Operate, observable: indexOf, serve: serveGetOrSetRestartLimits},
	"resetstatistics":  {access: access.Operate, observable: callsignInParams, serve: serveResetStatistics},
}

// NeededAccess returns the role that a caller needs for a call of the Monitor with that
// callsign, and what the call is about: the observable that the call names, else the
// Monitor. A method that the Monitor does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	m, ok := methods[c.Method]
	if !ok {
		return access.Read, about
	}
	about.Callsign = cmp.Or(m.observable(c), callsign)
	if m.writeAccess != access.None && isWrite(c) {
		return m.writeAccess, about
	}
	return m.access, about
}

// indexOf returns the index of a call.
func indexOf(c shell.Call) string { return c.Index }

// allObservables returns "": the call is about every observable.
func allObservables(shell.Call) string { return "" }

// callsignInParams returns the parameter callsign of a call, read as the method reads it;
// empty if the parameters are wrong, which the method says.
func callsignInParams(c shell.Call) (callsign string) {
	var given map[string]json.RawMessage
	if json.Unmarshal(c.Params, &given) == nil {
		_ = json.Unmarshal(given["callsign"], &callsign)
	}
	return callsign
}

// isWrite reports whether a call of a variable writes it.
func isWrite(c shell.Call) bool {
	params := string(c.Params)
	return params != "" && params != "null" && params != "{}"
}

// badRequestError returns the error for a caller whose parameters are wrong.
func badRequestError(cause string) error {
	return thunder.NewError(thunder.BadRequest, errors.New(cause))
}

// statusRecord is one observable as the old interface describes it.
type statusRecord struct {
	Measurements statistics `json:"measurements"`
	Observable   string     `json:"observable"`
	Restart      any        `json:"restart"`
}

// statusRecord returns the statistics and restart limits of an observable, and then resets
// the statistics if reset is true.
func (w *watch) statusRecord(o *observable, reset bool) statusRecord {
	return statusRecord{Measurements: w.statistics(o, reset), Observable: o.callsign, Restart: o.restartLimitsForClients()}
}

// statistics returns the measurements of an observable, and then resets them if reset is
// true. An observable is operational only while it is active.
func (w *watch) statistics(o *observable, reset bool) statistics {
	s := o.statistics(reset)
	sh, ok := w.supervisor.Shell(o.callsign)
	s.Operational = s.Operational && ok && sh.State() == shell.Activated
	return s
}

// requireObservable returns the observable of that callsign, or an error for the caller if
// the callsign is "" or the monitor does not watch it.
func (w *watch) requireObservable(callsign string) (*observable, error) {
	if callsign == "" {
		return nil, badRequestError("callsign is missing")
	}
	o := w.findObservable(callsign)
	if o == nil {
		return nil, thunder.NewError(thunder.UnknownKey, fmt.Errorf("%.80s is not observed", callsign))
	}
	return o, nil
}

// readParamsWithObservable returns the observable that the parameter callsign names. It
// reads the other parameters with the functions in otherMembers. The error is for the caller.
func (w *watch) readParamsWithObservable(params json.RawMessage, otherMembers members) (*observable, error) {
	var callsign string
	known := members{"callsign": nonEmptyTextReader(&callsign)}
	maps.Copy(known, otherMembers)
	if err := readKnownMembers(params, known); err != nil {
		return nil, badRequestError(err.Error())
	}
	return w.requireObservable(callsign)
}

// serveStatusRecords returns the statistics and restart limits of the observable that the
// index of the method names, or of all observables.
func serveStatusRecords(w *watch, c shell.Call) (any, error) {
	asked := w.observables
	if c.Index != "" {
		o, err := w.requireObservable(c.Index)
		if err != nil {
			return nil, err
		}
		asked = []*observable{o}
	}
	records := []statusRecord{}
	for _, o := range asked {
		records = append(records, w.statusRecord(o, false))
	}
	return records, nil
}

// serveSetRestartLimits replaces the restart limits of an observable by those in the
// parameter restart, or those that stand beside callsign. Without either it changes
// nothing: clients of Thunder R2 send other limits, which later ones ignore. It returns
// null.
func serveSetRestartLimits(w *watch, c shell.Call) (any, error) {
	var l *limits
	beside := false
	note := func(json.RawMessage) error {
		beside = true
		return nil
	}
	o, err := w.readParamsWithObservable(c.Params, members{"restart": limitsReader(&l, readKnownMembers), "limit": note, "window": note})
	if err != nil {
		return nil, err
	}
	if l == nil && beside {
		if l, err = readRestartLimits(c.Params, readKnownMembers); err != nil {
			return nil, badRequestError(err.Error())
		}
	}
	if l != nil {
		o.setRestartLimits(l)
	}
	return nil, nil
}

// serveStatusRecordAndReset returns the statistics and restart limits of an observable,
// and resets the statistics.
func serveStatusRecordAndReset(w *watch, c shell.Call) (any, error) {
	o, err := w.readParamsWithObservable(c.Params, nil)
	if err != nil {
		return nil, err
	}
	return w.statusRecord(o, true), nil
}

// serveObservables returns the callsigns of all observables.
func serveObservables(w *watch, _ shell.Call) (any, error) {
	callsigns := []string{}
	for _, o := range w.observables {
		callsigns = append(callsigns, o.callsign)
	}
	return callsigns, nil
}

// serveStatistics returns the statistics of the observable that the index of the method
// names.
func serveStatistics(w *watch, c shell.Call) (any, error) {
	o, err := w.requireObservable(c.Index)
	if err != nil {
		return nil, err
	}
	return w.statistics(o, false), nil
}

// serveGetOrSetRestartLimits returns the restart limits of the observable that the index
// of the method names, or replaces them by the limits in the parameters, which stand
// alone or below "value".
func serveGetOrSetRestartLimits(w *watch, c shell.Call) (any, error) {
	o, err := w.requireObservable(c.Index)
	if err != nil {
		return nil, err
	}
	if !isWrite(c) {
		return o.restartLimitsForClients(), nil
	}
	var l *limits
	err = readKnownMembers(c.Params, members{"value": limitsReader(&l, readKnownMembers)})
	if err == nil && l == nil {
		l, err = readRestartLimits(c.Params, readKnownMembers)
	}
	if err != nil {
		return nil, badRequestError(err.Error())
	}
	o.setRestartLimits(l)
	return nil, nil
}

// serveResetStatistics resets the statistics of an observable. It returns null.
func serveResetStatistics(w *watch, c shell.Call) (any, error) {
	o, err := w.readParamsWithObservable(c.Params, nil)
	if err != nil {
		return nil, err
	}
	o.statistics(true)
	return nil, nil
}

// limitsReader returns a function that decodes JSON as restart limits with read, and sets
// *into to them.
func limitsReader(into **limits, read objectReader) func(json.RawMessage) error {
	return func(raw json.RawMessage) (err error) {
		*into, err = readRestartLimits(raw, read)
		return err
	}
}
