package controller

import (
	"context"
	"errors"
	"strconv"

	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/supervisor"
)

// lossMethods returns the methods about the state of plugins that was lost, about what is kept
// of it, and the one that helps not to lose it. Thunder has none of them.
func lossMethods() []method {
	return []method{{
		name: "losses", access: access.Read, form: property,
		result: []lossOfInstance{}, returns: "the losses by callsign and time; cause and path only for callers with operate",
		doc:   "The states of hibernated plugins that were given up, until they are acknowledged.",
		serve: serveLosses,
	}, {
		name: "acknowledge", access: access.Operate, missingParam: thunder.BadRequest,
		params: []parameter{{name: "callsign", doc: "the instance"}},
		result: 0, returns: "how many losses were told until now",
		doc:    "Ends the telling of what an instance has lost. What is kept of it stays.",
		errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.General},
		serve:  serveAcknowledge,
	}, {
		name: "restoreimage", access: access.Operate, missingParam: thunder.BadRequest, returns: "once the instance is hibernated",
		params: []parameter{
			{name: "callsign", doc: "the instance"},
			{name: "generation", optional: true, doc: "the number of the image, the newest when absent"},
		},
		doc:    "Puts an image back that was put aside because it did not fit the host; the instance must be deactivated.",
		errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.BadRequest, thunder.General, thunder.IllegalState, thunder.InProgress, thunder.NotSupported},
		serve:  serveRestoreImage,
	}, {
		name: "keepawake", access: access.Operate, missingParam: thunder.BadRequest, returns: "at once",
		params: []parameter{
			{name: "callsign", doc: "the instance"},
			{name: "duration", kind: milliseconds, doc: "for how long, in milliseconds"},
		},
		doc:    "Keeps the host from putting an active plugin to sleep by itself for a time, as during an update of what it runs from.",
		errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.BadRequest, thunder.IllegalState},
		serve:  serveKeepAwake,
	}}
}

// lossOfInstance is a loss with the callsign of its instance.
type lossOfInstance struct {
	Callsign string `json:"callsign"`
	dialect.Loss
}

// serveLosses answers with all losses that were not acknowledged yet.
func serveLosses(_ context.Context, r request) (any, error) {
	all := []lossOfInstance{}
	for _, l := range r.front.supervisor.Losses() {
		one := lossRecord(l)
		if !r.seesDetailsOf(l.Callsign) {
			one = one.WithoutDetails()
		}
		all = append(all, lossOfInstance{l.Callsign, one})
	}
	return all, nil
}

// serveAcknowledge ends the telling of the losses of an instance.
func serveAcknowledge(_ context.Context, r request) (any, error) {
	count, err := r.front.supervisor.AcknowledgeLosses(r.args["callsign"])
	if err != nil {
		return nil, renumberUnlessKept(err, thunder.General, thunder.UnknownKey)
	}
	return count, nil
}

// serveRestoreImage puts an image back that was put aside.
func serveRestoreImage(ctx context.Context, r request) (any, error) {
	var generation uint64
	if given := r.args["generation"]; given != "" {
		var err error
		if generation, err = strconv.ParseUint(given, 10, 64); err != nil {
			return nil, thunder.NewError(thunder.BadRequest, errors.New("the parameter \"generation\" is not the number of an image"))
		}
	}
	err := r.front.supervisor.RestoreImage(ctx, r.args["callsign"], generation)
	return nil, renumberUnlessKept(err, thunder.General, thunder.UnknownKey, thunder.IllegalState, thunder.InProgress, thunder.NotSupported)
}

// serveKeepAwake keeps the host from putting an active plugin to sleep by itself.
func serveKeepAwake(_ context.Context, r request) (any, error) {
	sh, err := r.targetInstance(thunder.BadRequest)
	if err != nil {
		return nil, err
	}
	return nil, renumberUnlessKept(sh.KeepAwake(r.args.durationOrZero("duration")), thunder.IllegalState)
}

// lossRecords returns losses as clients see them.
func lossRecords(losses []supervisor.Loss) (records []dialect.Loss) {
	for _, l := range losses {
		records = append(records, lossRecord(l))
	}
	return records
}

// lossRecord returns a loss as clients see it.
func lossRecord(l supervisor.Loss) dialect.Loss {
	r := dialect.Loss{At: utcTimestamp(l.At), Cause: l.Cause, Class: l.Class, Generation: l.Generation, Path: l.Path, Restorable: l.Restorable}
	if !l.Until.IsZero() {
		r.Until = utcTimestamp(l.Until)
	}
	return r
}

// lossesAnswer is the result of an activation while losses of the instance are not
// acknowledged: what answers now may lack what the plugin once knew.
type lossesAnswer struct {
	Lost []dialect.Loss `json:"lost"`
}

// lossesAnswerOrNil returns the losses of an instance as the result of its activation, nil if
// there are none.
func (r request) lossesAnswerOrNil(callsign string) any {
	lost := lossRecords(r.front.supervisor.LossesOf(callsign))
	if len(lost) == 0 {
		return nil
	}
	return lossesAnswer{lost}
}
