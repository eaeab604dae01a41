package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"dormouse/internal/bytesize"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// operation is a verb of the client that changes the state of an instance.
type operation struct {
	name string
	// method is the Controller's method, "" if it has the name of the operation.
	method string
	// isWanted reports whether --all includes the instance; nil if there is no --all. allText
	// names those instances, as in "every hibernated plugin".
	isWanted func(instanceRecord) bool
	allText  string
	// checkBefore returns why the operation is not for the instance; nil checks nothing.
	checkBefore func(instanceRecord) error
	// needlessIn is the state in which the operation has nothing to do.
	needlessIn string
	// showsProgress reports whether the operation may take long, so that its progress is
	// shown on a terminal.
	showsProgress bool
	takesTimeout  bool
	// keepsAwake reports whether there is --for, which sets awakeFor: how long the host is not
	// to put the plugin to sleep by itself after the operation.
	keepsAwake bool
	awakeFor   time.Duration
	// takesCold reports whether the operation has the flag --cold, and cold whether the flag
	// is given: what a hibernated plugin sleeps in is given up.
	takesCold, cold bool
	// startsAnew reports whether the operation changes an instance that stays in its state.
	startsAnew bool
	// describeChange returns a text that says how the operation changed the instance.
	describeChange func(before, after instanceRecord) string
}

var (
	activating        = operation{name: "activate", takesCold: true, showsProgress: true, describeChange: describeActivation}
	deactivating      = operation{name: "deactivate", takesCold: true, needlessIn: "deactivated", showsProgress: true, describeChange: describeNewState}
	restarting        = operation{name: "restart", showsProgress: true, startsAnew: true, describeChange: describeRestart}
	suspending        = operation{name: "suspend", needlessIn: "suspended", describeChange: describeNewState}
	resuming          = operation{name: "resume", needlessIn: "resumed", showsProgress: true, describeChange: describeActivation, isWanted: isQuiet, allText: "every suspended or hibernated plugin"}
	waking            = operation{name: "wake", method: "activate", showsProgress: true, describeChange: describeActivation, isWanted: isHibernated, allText: "every hibernated plugin", checkBefore: checkWakeable, keepsAwake: true}
	makingUnavailable = operation{name: "unavailable", needlessIn: "unavailable", describeChange: describeNewState}
	hibernating       = operation{name: "hibernate", needlessIn: "hibernated", showsProgress: true, takesTimeout: true, describeChange: describeHibernation, isWanted: isSuspended, allText: "every suspended plugin"}
)

// operationOutcome is the outcome for one instance, as JSON.
type operationOutcome struct {
	Callsign string          `json:"callsign"`
	Seconds  float64         `json:"seconds"`
	Error    string          `json:"error,omitempty"`
	Status   json.RawMessage `json:"status,omitempty"`
}

// operationVerb returns the function that declares the flags of the verb for the operation
// o, and returns its action.
func operationVerb(o operation) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c, format := addHostFlag(flags), addFormatFlag(flags)
		timeout, all, parallel := new(time.Duration), new(bool), new(int)
		if o.takesTimeout {
			flags.DurationVar(timeout, "timeout", 0, "give up after `DURATION`, such as 10s; the host's own limit if not given")
		}
		if o.takesCold {
			addColdFlag(flags, &o.cold)
		}
		if o.keepsAwake {
			flags.DurationVar(&o.awakeFor, "for", 0, "keep the host from putting it back to sleep by itself for `DURATION`, such as 1h; at most a day")
		}
		if o.isWanted != nil {
			flags.BoolVar(all, "all", false, o.allText)
			flags.IntVar(parallel, "parallel", defaultParallel, "with --all, work on `N` plugins at the same time")
		}
		return func(ctx context.Context, t *terminal, names []string) error {
			switch {
			case *timeout < 0:
				return &usageError{err: errors.New("--timeout must be more than zero")}
			case o.awakeFor < 0 || o.awakeFor > 24*time.Hour:
				return &usageError{err: errors.New("--for must be more than zero and at most 24h")}
			case *all && len(names) > 0, !*all && len(names) == 0:
				return &usageError{err: errors.New("it takes either the NAME of a plugin or --all")}
			case *all && *parallel < 1:
				return &usageError{err: errors.New("--parallel must be at least 1")}
			case *all:
				return c.operateOnAll(ctx, t, o, *timeout, *parallel, format)
			}
			if o.startsAnew {
				names = c.instancesNamed(ctx, names)
			}
			return c.operateInTurnAndPrint(ctx, t, o, names, *timeout, format)
		}
	}
}

// addColdFlag declares the flag --cold.
func addColdFlag(flags *flag.FlagSet, cold *bool) {
	flags.BoolVar(cold, "cold", false, "do not wake a hibernated plugin: give up its state for ever")
}

// operateInTurnAndPrint carries out an operation on one named instance after the other and prints
// the outcomes. It goes on after an instance has failed, and then returns errReported; it
// stops when the host can't be reached or ctx has ended. Limit is as in operate.
func (c *client) operateInTurnAndPrint(ctx context.Context, t *terminal, o operation, callsigns []string, limit time.Duration, format *outputFormat) error {
	var outcomes []operationOutcome
	var failed error
	for _, name := range callsigns {
		before, after, took, err := c.operateWithProgress(ctx, t, o, name, limit)
		result := operationOutcome{Callsign: name, Seconds: took.Seconds(), Status: after.raw}
		switch {
		case errors.Is(err, errUnreachable):
			return err
		case err != nil:
			failed = errReported
			err = fmt.Errorf("cannot %s %s: %w", o.name, name, err)
			t.printErrf("dormouse: %v\n", err)
			result.Error = err.Error()
		case !format.isJSON():
			t.printf("%s %s, %s\n", name, o.describeOutcome(before, after), formatSeconds(took))
		}
		outcomes = append(outcomes, result)
		if ctx.Err() != nil {
			break
		}
	}
	if format.isJSON() {
		return errors.Join(t.printIndentedJSON(outcomes), failed)
	}
	return failed
}

// operateWithProgress is operate, and shows the progress on a terminal.
func (c *client) operateWithProgress(ctx context.Context, t *terminal, o operation, callsign string, limit time.Duration) (before, after instanceRecord, took time.Duration, err error) {
	if o.showsProgress && t.errIsTerminal {
		defer c.showProgressInBackground(ctx, t, callsign)()
	}
	return c.operate(ctx, o, callsign, limit)
}

// operate carries out an operation on one instance and returns the records of the instance
// before and after, and how long the operation took. The host gives up after limit, or after
// its own limit if that is 0. An operation that has nothing to do succeeds.
func (c *client) operate(ctx context.Context, o operation, callsign string, limit time.Duration) (before, after instanceRecord, took time.Duration, err error) {
	if before, err = c.getInstance(ctx, callsign); err != nil {
		return before, after, 0, err
	}
	if o.checkBefore != nil {
		if err := o.checkBefore(before); err != nil {
			return before, after, 0, err
		}
	}
	params := map[string]any{"callsign": callsign}
	if limit > 0 {
		params["timeout"] = max(1, limit.Milliseconds())
	}
	if o.cold {
		params["cold"] = true
	}
	begun := time.Now()
	method := cmp.Or(o.method, o.name)
	_, err = c.call(ctx, "Controller."+method, params)
	took = time.Since(begun)
	if hasAnyErrorNumber(err, thunder.IllegalState) && before.State == o.needlessIn {
		return before, before, took, nil // an error only to Thunder
	}
	if err != nil {
		return before, after, took, c.rewordWithAdvice(ctx, method, callsign, err)
	}
	if o.awakeFor > 0 {
		params := map[string]any{"callsign": callsign, "duration": o.awakeFor.Milliseconds()}
		if _, err := c.call(ctx, "Controller.keepawake", params); err != nil {
			return before, after, took, c.rewordWithAdvice(ctx, "keep it awake", callsign, err)
		}
	}
	after, _ = c.getInstance(ctx, callsign) // it is done, even if the host has ended since
	return before, after, took, nil
}

// describeOutcome returns a text that says how the operation changed the instance, or that
// it was in that state already.
func (o operation) describeOutcome(before, after instanceRecord) string {
	if after.State == "" {
		return o.name + " done"
	}
	if before.State == after.State && !o.startsAnew {
		return "was " + after.State + " already" + lostText(before, after)
	}
	return o.describeChange(before, after) + lostText(before, after)
}

// describeNewState returns the new state.
func describeNewState(_, after instanceRecord) string { return after.State }

// describeActivation returns the new state of a started or woken plugin, with its pid and
// memory, and how much was read from disk for that, or why a wake failed.
func describeActivation(before, after instanceRecord) string {
	if before.isRunning() {
		return after.State
	}
	runs := fmt.Sprintf("%s, pid %d, %s of memory", after.State, after.PID, bytesOrDash(after.Memory))
	if before.State != "hibernated" {
		return runs
	}
	if wasRetired(after) {
		return runs + "; it was woken to end, and started anew, since its configuration has changed"
	}
	if failure := lastWakeError(after); failure != "" {
		return fmt.Sprintf("%s; it was started afresh: %s", runs, errorCell(failure))
	}
	if before.sleepsInPlace() {
		return fmt.Sprintf("woken: %s, %s to come back from the swap", runs, bytesize.Format(before.imageOrSwapBytes()))
	}
	if after.Loading != nil {
		return fmt.Sprintf("woken: %s, %s of %s read from disk so far", runs, bytesize.Format(after.ImageRead), bytesize.Format(before.imageOrSwapBytes()))
	}
	return fmt.Sprintf("woken: %s, %s read from disk", runs, bytesize.Format(after.ImageRead))
}

// describeRestart returns the new state of a plugin that was started anew, with its pid and
// memory.
func describeRestart(_, after instanceRecord) string {
	return fmt.Sprintf("started anew: %s, pid %d, %s of memory", after.State, after.PID, bytesOrDash(after.Memory))
}

// lastWakeError returns the error of the last wake in the history, "" if that wake
// succeeded or there was none.
func lastWakeError(after instanceRecord) string {
	for _, h := range slices.Backward(after.History) {
		if h.Event == shell.Wake {
			return h.Error
		}
	}
	return ""
}

// wasRetired reports whether the last sleep in the history ended because it was outdated.
func wasRetired(after instanceRecord) bool {
	for _, h := range slices.Backward(after.History) {
		if h.From == shell.Hibernated || h.To == shell.Hibernated {
			return h.Event == shell.Retire && h.To != shell.Hibernated
		}
	}
	return false
}

// describeHibernation returns the new state, where the image is and its size, and how much
// memory the host has got back.
func describeHibernation(before, after instanceRecord) string {
	where := "on disk"
	if after.sleepsInPlace() {
		where = "in the swap"
	}
	return fmt.Sprintf("%s: %s %s, %s of memory given back", after.State, bytesize.Format(after.imageOrSwapBytes()), where, bytesize.Format(max(0, before.Memory-after.Memory)))
}
