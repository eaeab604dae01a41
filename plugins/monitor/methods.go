package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// method serves one call. Its result is encoded as JSON.
type method func(*watch, shell.Call) (any, error)

// methods are the methods of Thunder's old interface, then of its new one, by name.
var methods = map[string]method{
	"status":        serveStatusRecords,
	"restartlimits": serveSetRestartLimits,
	"resetstats":    serveStatusRecordAndReset,

	"observables":      serveObservables,
	"measurementdata":  serveStatistics,
	"restartinglimits": serveGetOrSetRestartLimits,
	"resetstatistics":  serveResetStatistics,
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
	if params := string(c.Params); params == "" || params == "null" || params == "{}" {
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
