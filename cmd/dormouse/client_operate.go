package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"dormouse/plugins/thunder"
)

// operation is a lifecycle verb.
type operation struct {
	name string
	// target is the state that makes it needless.
	target string
	// shows is whether it can take so long that its progress is worth a look.
	shows bool
	// told says what became of the instance: before and after are its records.
	told func(before, after record) string
}

var (
	activating   = operation{name: "activate", shows: true, told: toldActivated}
	deactivating = operation{name: "deactivate", target: "deactivated", shows: true, told: toldState}
	suspending   = operation{name: "suspend", target: "suspended", told: toldState}
	resuming     = operation{name: "resume", target: "resumed", shows: true, told: toldActivated}
	barring      = operation{name: "unavailable", target: "unavailable", told: toldState}
	hibernating  = operation{name: "hibernate", target: "hibernated", shows: true, told: toldHibernated}
)

// outcome is what one instance's operation led to, as JSON has it.
type outcome struct {
	Callsign string          `json:"callsign"`
	Seconds  float64         `json:"seconds"`
	Error    string          `json:"error,omitempty"`
	Status   json.RawMessage `json:"status,omitempty"`
}

func prepareOperation(o operation) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c, format := clientFlags(flags), formatFlag(flags)
		return func(ctx context.Context, t *terminal, names []string) error {
			return c.operateAll(ctx, t, o, names, 0, format)
		}
	}
}

func prepareHibernate(flags *flag.FlagSet) action {
	c, format := clientFlags(flags), formatFlag(flags)
	timeout := flags.Duration("timeout", 0, "give up after `DURATION`, such as 10s; the host's own limit if not given")
	return func(ctx context.Context, t *terminal, names []string) error {
		if *timeout < 0 {
			return &usageError{err: errors.New("--timeout must be more than zero")}
		}
		return c.operateAll(ctx, t, hibernating, names, *timeout, format)
	}
}

// operateAll carries o out on one instance after the other. One that fails does
// not keep the others from their turn.
func (c *client) operateAll(ctx context.Context, t *terminal, o operation, names []string, limit time.Duration, format *format) error {
	var outcomes []outcome
	var failed error
	for _, name := range names {
		before, after, took, err := c.operate(ctx, t, o, name, limit)
		result := outcome{Callsign: name, Seconds: took.Seconds(), Status: after.raw}
		switch {
		case errors.Is(err, errUnreachable):
			return err
		case err != nil:
			failed = errReported
			err = fmt.Errorf("cannot %s %s: %w", o.name, name, err)
			t.complain("dormouse: %s\n", oneLine(err.Error()))
			result.Error = err.Error()
		case !format.json():
			t.say("%s %s, %s\n", name, o.tell(before, after), seconds(took))
		}
		outcomes = append(outcomes, result)
		if ctx.Err() != nil {
			break
		}
	}
	if format.json() {
		return errors.Join(t.sayJSON(outcomes), failed)
	}
	return failed
}

func (c *client) operate(ctx context.Context, t *terminal, o operation, name string, limit time.Duration) (before, after record, took time.Duration, err error) {
	if before, err = c.record(ctx, name); err != nil {
		return before, after, 0, err
	}
	params := map[string]any{"callsign": name}
	if limit > 0 {
		params["timeout"] = max(1, limit.Milliseconds())
	}
	hide := func() {}
	if o.shows && t.errShown {
		hide = c.showProgress(ctx, t, name)
	}
	begun := time.Now()
	_, err = c.call(ctx, "Controller."+o.name, params)
	took = time.Since(begun)
	hide()
	if hasNumber(err, thunder.IllegalState) && before.State == o.target {
		return before, before, took, nil // Thunder calls that an error, a person would not
	}
	if err != nil {
		return before, after, took, c.advise(ctx, o.name, name, shorten(err, o.name))
	}
	after, _ = c.record(ctx, name) // it is done, even if the host has ended since
	return before, after, took, nil
}

// shorten drops from the host's cause what the program says itself.
func shorten(err error, verb string) error {
	remote, ok := errors.AsType[*remoteError](err)
	if !ok {
		return err
	}
	short := *remote
	said := "cannot " + verb + ": "
	short.Message = strings.TrimPrefix(short.Message, said)
	var data map[string]any
	if json.Unmarshal(short.Data, &data) == nil {
		if cause, ok := data["cause"].(string); ok {
			data["cause"] = strings.TrimPrefix(cause, said)
			if text, err := json.Marshal(data); err == nil {
				short.Data = text
			}
		}
	}
	return &short
}

// tell says what became of the instance.
func (o operation) tell(before, after record) string {
	if after.State == "" {
		return o.name + " done"
	}
	if before.State == after.State {
		return "was " + after.State + " already"
	}
	return o.told(before, after)
}

func toldState(_, after record) string { return after.State }

func toldActivated(before, after record) string {
	if before.active() {
		return after.State
	}
	runs := fmt.Sprintf("%s, pid %d, %s of memory", after.State, after.PID, sizeOr(after.Memory))
	if before.State != "hibernated" {
		return runs
	}
	if failure := failedWake(after); failure != "" {
		return fmt.Sprintf("%s; it was started afresh: %s", runs, oneLine(failure))
	}
	if before.inSwap() {
		return fmt.Sprintf("woken: %s, %s to come back from the swap", runs, size(before.image()))
	}
	return fmt.Sprintf("woken: %s, %s read from disk", runs, size(before.image()))
}

// failedWake is why a cold start had to stand in for the last wake, empty when
// that went well.
func failedWake(after record) string {
	for _, h := range slices.Backward(after.History) {
		if h.Event == "wake" {
			return h.Error
		}
	}
	return ""
}

func toldHibernated(before, after record) string {
	where := "on disk"
	if after.inSwap() {
		where = "in the swap"
	}
	return fmt.Sprintf("%s: %s %s, %s of memory given back", after.State, size(after.image()), where, size(max(0, before.Memory-after.Memory)))
}
