package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"dormouse/plugins/controller/dialect"
)

// lossOfInstance is a loss with the callsign of its instance, as Controller.losses returns it.
type lossOfInstance struct {
	Callsign string `json:"callsign"`
	dialect.Loss
}

// warningText says in a line what was lost, where it lies, and what the operator can do.
func (l lossOfInstance) warningText() string {
	text := fmt.Sprintf("lost: what %s slept in, %s", l.Callsign, lossText(l.Loss))
	if l.Restorable {
		text += "; once the update is undone: dormouse images restore " + l.Callsign
	}
	return text + "; told until you run: dormouse plugin acknowledge " + l.Callsign
}

// lossText says when and why a plugin's state was lost, and where it is kept.
func lossText(l dialect.Loss) string {
	why := errorCell(l.Cause)
	if why == "" {
		why = "the host tells the cause only to users with the role operate"
	}
	return formatTimeAndAge(l.At) + ": " + why + keptText(l)
}

// keptText returns the end of a text about a loss, which says where the state is kept and until
// when; "" if it is gone.
func keptText(l dialect.Loss) string {
	until := parseTimeOrZero(l.Until)
	if until.IsZero() {
		return ""
	}
	text := "; kept until " + until.Local().Format(time.DateTime)
	if l.Path != "" {
		text += " in " + l.Path
	}
	return text
}

// lostText returns the end of a text about an operation on an instance, which says what the
// instance has lost that was not acknowledged; "" for nothing. The text before it has named
// the cause if the operation was a wake that failed.
func lostText(before, after instanceRecord) string {
	if len(after.Lost) == 0 {
		return ""
	}
	latest := after.Lost[len(after.Lost)-1]
	if before.State == "hibernated" && lastWakeError(after) != "" {
		return keptText(latest)
	}
	return "; it has lost what it slept in, " + lossText(latest)
}

// listLosses returns the losses that were not acknowledged, nil if the host does not say.
func (c *client) listLosses(ctx context.Context) (losses []lossOfInstance) {
	if result, err := c.call(ctx, "Controller.losses", nil); err == nil {
		_ = json.Unmarshal(result, &losses) // the list is right without them
	}
	return losses
}

// acknowledgeVerb returns the action that ends the telling of losses. It goes on after an
// instance has failed.
func acknowledgeVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, names []string) error {
		var failed []error
		for _, name := range names {
			result, err := c.call(ctx, "Controller.acknowledge", map[string]string{"callsign": name})
			if errors.Is(err, errUnreachable) {
				return err
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("cannot acknowledge %s: %w", name, c.rewordWithAdvice(ctx, "acknowledge", name, err)))
				continue
			}
			t.printf("%s\n", acknowledgementText(name, result))
		}
		return errors.Join(failed...)
	}
}

// acknowledgementText returns what the host's answer, the number of losses, means.
func acknowledgementText(name string, answer json.RawMessage) string {
	switch string(answer) {
	case "0":
		return name + " has lost nothing that was not acknowledged"
	case "1":
		return name + ": one loss is acknowledged"
	}
	return fmt.Sprintf("%s: %s losses are acknowledged", name, answer)
}
