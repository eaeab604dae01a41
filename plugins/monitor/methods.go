package monitor

import (
	"encoding/json"
	"fmt"
	"maps"

	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// method serves one call; the result is encoded as JSON.
type method func(*watch, shell.Call) (any, error)

// methods is the API: Thunder's old interface, then its new one.
func methods() map[string]method {
	return map[string]method{
		"status":        status,
		"restartlimits": setRestartLimits,
		"resetstats":    resetStats,

		"observables":      observables,
		"measurementdata":  measurementData,
		"restartinglimits": restartingLimits,
		"resetstatistics":  resetStatistics,
	}
}

// badRequest returns the error of a caller whose parameters are wrong.
func badRequest(cause string) error {
	return &shell.PluginError{Code: int(thunder.BadRequest), Message: cause}
}

// record is one observable as the old interface tells it.
type record struct {
	Measurements statistics `json:"measurements"`
	Observable   string     `json:"observable"`
	Restart      any        `json:"restart"`
}

func (w *watch) record(o *observable, forget bool) record {
	return record{Measurements: w.statistics(o, forget), Observable: o.callsign, Restart: o.restartLimits()}
}

// statistics are the observable's; it is operational only while it is active.
func (w *watch) statistics(o *observable, forget bool) statistics {
	s := o.statistics(forget)
	sh, ok := w.supervisor.Shell(o.callsign)
	s.Operational = s.Operational && ok && sh.State() == shell.Activated
	return s
}

// named returns the observable that a call is about.
func (w *watch) named(callsign string) (*observable, error) {
	if callsign == "" {
		return nil, badRequest("callsign is missing")
	}
	o := w.find(callsign)
	if o == nil {
		return nil, &shell.PluginError{Code: int(thunder.UnknownKey), Message: fmt.Sprintf("%.80s is not observed", callsign)}
	}
	return o, nil
}

// parameter returns the observable that the parameters name, and what else they
// hold.
func (w *watch) parameter(params json.RawMessage, others members) (*observable, error) {
	var callsign string
	known := members{"callsign": text(&callsign)}
	maps.Copy(known, others)
	if err := readMembers(params, known); err != nil {
		return nil, badRequest(err.Error())
	}
	return w.named(callsign)
}

func status(w *watch, c shell.Call) (any, error) {
	asked := w.observables
	if c.Index != "" {
		o, err := w.named(c.Index)
		if err != nil {
			return nil, err
		}
		asked = []*observable{o}
	}
	records := []record{}
	for _, o := range asked {
		records = append(records, w.record(o, false))
	}
	return records, nil
}

func setRestartLimits(w *watch, c shell.Call) (any, error) {
	var l *limits
	o, err := w.parameter(c.Params, members{"restart": limitsInto(&l)})
	if err != nil {
		return nil, err
	}
	if l == nil {
		return nil, badRequest("restart is missing")
	}
	o.setLimits(l)
	return nil, nil
}

// resetStats returns what there was before.
func resetStats(w *watch, c shell.Call) (any, error) {
	o, err := w.parameter(c.Params, nil)
	if err != nil {
		return nil, err
	}
	return w.record(o, true), nil
}

func observables(w *watch, _ shell.Call) (any, error) {
	callsigns := []string{}
	for _, o := range w.observables {
		callsigns = append(callsigns, o.callsign)
	}
	return callsigns, nil
}

func measurementData(w *watch, c shell.Call) (any, error) {
	o, err := w.named(c.Index)
	if err != nil {
		return nil, err
	}
	return w.statistics(o, false), nil
}

// restartingLimits is read without parameters and written with them, below
// "value" or bare.
func restartingLimits(w *watch, c shell.Call) (any, error) {
	o, err := w.named(c.Index)
	if err != nil {
		return nil, err
	}
	if params := string(c.Params); params == "" || params == "null" || params == "{}" {
		return o.restartLimits(), nil
	}
	var l *limits
	if readMembers(c.Params, members{"value": limitsInto(&l)}) != nil || l == nil {
		if l, err = readLimits(c.Params); err != nil {
			return nil, badRequest(err.Error())
		}
	}
	o.setLimits(l)
	return nil, nil
}

func resetStatistics(w *watch, c shell.Call) (any, error) {
	o, err := w.parameter(c.Params, nil)
	if err != nil {
		return nil, err
	}
	o.statistics(true)
	return nil, nil
}

func limitsInto(l **limits) func(json.RawMessage) error {
	return func(raw json.RawMessage) (err error) {
		*l, err = readLimits(raw)
		return err
	}
}
