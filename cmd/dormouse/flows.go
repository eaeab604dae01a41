package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dormouse/internal/bytesize"
)

// flowRecord is a flow as Flows.list and Flows.show return it, or a topic that is bound to an engine
// elsewhere, with a Remote.
type flowRecord struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Package   string   `json:"package"`
	Instance  string   `json:"instance"`
	State     string   `json:"state"`
	Effect    string   `json:"effect"`
	Why       string   `json:"why"`
	Messages  int64    `json:"messages"`
	Bytes     int64    `json:"bytes"`
	Oldest    float64  `json:"oldest"`
	Dead      int64    `json:"dead"`
	In        float64  `json:"in"`
	Out       float64  `json:"out"`
	Failed    float64  `json:"failed"`
	Published int64    `json:"published"`
	Processed int64    `json:"processed"`
	Failures  int64    `json:"failures"`
	Takes     []string `json:"takes"`
	Gives     []string `json:"gives"`
	Unrouted  string   `json:"unrouted"`
	Parallel  int      `json:"parallel"`
	First     *struct {
		Failed int    `json:"failed"`
		Reason string `json:"reason"`
		Again  string `json:"again"`
	} `json:"first"`
	Remote *struct {
		Topic     string `json:"topic"`
		Engine    string `json:"engine"`
		Subject   string `json:"subject"`
		Connected bool   `json:"connected"`
		WhyTaking string `json:"whytaking"`
	} `json:"remote"`
}

// callAndDecode calls a method of Flows and decodes its result.
func callAndDecode[T any](ctx context.Context, c *client, method string, params any) (result T, err error) {
	answer, err := c.call(ctx, "Flows."+method, params)
	if err == nil {
		if err = json.Unmarshal(answer, &result); err != nil {
			err = fmt.Errorf("cannot understand the host's flows: %w", err)
		}
	}
	return result, err
}

// flowListVerb returns the action that lists the flows.
func flowListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		answer, err := c.call(ctx, "Flows.list", nil)
		if err != nil {
			return fmt.Errorf("cannot list the flows: %w", err)
		}
		return printJSONOrText(t, format, "flows", answer, func(all []flowRecord) string {
			if len(all) == 0 {
				return "no package declares a flow\n"
			}
			rows := table{}
			rows.addRow("FLOW", "KIND", "STATE", "WAITING", "SIZE", "OLDEST", "IN/S", "OUT/S", "DEAD", "WHY IT WAITS")
			for _, f := range all {
				in, out := rateText(f.In), rateText(f.Out)
				if f.Remote != nil {
					in, out = "-", "-"
				}
				rows.addRow(f.Name, textOrDash(f.Kind), textOrDash(f.State), fmt.Sprint(f.Messages), bytesOrDash(f.Bytes), f.oldestText(), in, out, fmt.Sprint(f.Dead), errorCell(f.Why))
			}
			return rows.alignedText(t.width)
		})
	}
}

// oldestText returns how long the oldest message waits, a dash if none does.
func (f flowRecord) oldestText() string {
	if f.Messages == 0 {
		return "-"
	}
	return formatAge(time.Duration(f.Oldest * float64(time.Second)))
}

// rateText returns messages per second with as many digits as matter.
func rateText(perSecond float64) string {
	switch {
	case perSecond >= 10 || perSecond == 0:
		return strconv.FormatFloat(perSecond, 'f', 0, 64)
	case perSecond < 0.1:
		return "<0.1"
	}
	return strconv.FormatFloat(perSecond, 'f', 1, 64)
}

// flowShowVerb returns the action that prints everything about one flow.
func flowShowVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		answer, err := c.call(ctx, "Flows.show", map[string]string{"flow": args[0]})
		if err != nil {
			return fmt.Errorf("cannot show the flow %s: %w", args[0], err)
		}
		return printJSONOrText(t, format, "flow", answer, flowRecord.detailsText)
	}
}

// detailsText returns everything about the flow, for a person.
func (f flowRecord) detailsText() string {
	rows := table{}
	add := func(name, value string) {
		if value != "" {
			rows.addRow(name, value)
		}
	}
	add("flow", f.Name)
	add("kind", f.Kind)
	if f.Remote != nil {
		f.addRemoteRows(add)
		return rows.alignedText(0)
	}
	add("package", f.Package)
	add("instance", f.Instance)
	add("state", f.State)
	add("messages are", f.Effect)
	add("why", f.Why)
	add("takes", strings.Join(f.Takes, ", "))
	add("gives", strings.Join(f.Gives, ", "))
	add("unrouted", f.Unrouted)
	add("waiting", f.waitingText())
	if f.First != nil {
		add("the first", fmt.Sprintf("has failed %d times, again at %s: %s", f.First.Failed, parseTimeOrZero(f.First.Again).Local().Format(time.DateTime), f.First.Reason))
	}
	add("per second", rateText(f.In)+" in, "+rateText(f.Out)+" out, "+rateText(f.Failed)+" failed")
	add("so far", fmt.Sprintf("%d published, %d processed, %d failed attempts", f.Published, f.Processed, f.Failures))
	add("dead", fmt.Sprint(f.Dead))
	return rows.alignedText(0)
}

// addRemoteRows adds everything about a topic that is bound to an engine elsewhere.
func (f flowRecord) addRemoteRows(add func(name, value string)) {
	add("topic", f.Remote.Topic)
	add("engine", f.Remote.Engine)
	add("subject", f.Remote.Subject)
	add("reached", map[bool]string{true: "yes", false: "no"}[f.Remote.Connected])
	add("why it waits", f.Why)
	if f.Remote.WhyTaking != f.Why {
		add("why not taken", f.Remote.WhyTaking)
	}
	add("waiting", f.waitingText())
	add("dead", fmt.Sprint(f.Dead))
}

// waitingText returns how much waits, and for how long.
func (f flowRecord) waitingText() string {
	return fmt.Sprintf("%d, %s, the oldest for %s", f.Messages, bytesize.Format(f.Bytes), f.oldestText())
}

// flowStateVerb returns the function that prepares the verb run, pause or stop, whose states are
// called done.
func flowStateVerb(verb, done string) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c := addHostFlag(flags)
		return func(ctx context.Context, t *terminal, names []string) error {
			var failed []error
			for _, name := range names {
				f, err := callAndDecode[flowRecord](ctx, c, verb, map[string]string{"flow": name})
				if errors.Is(err, errUnreachable) {
					return err
				}
				if err != nil {
					failed = append(failed, fmt.Errorf("cannot %s %s: %w", verb, name, err))
					continue
				}
				t.printf("%s is %s; %s\n", name, done, f.effectText())
			}
			return errors.Join(failed...)
		}
	}
}

// effectText says what becomes of the flow's messages, and why.
func (f flowRecord) effectText() string {
	switch {
	case f.Effect == "unknown": // so far it is only a name with a state
		return errorCell(f.Why)
	case f.Why == "":
		return "messages are " + f.Effect
	}
	return "messages are " + f.Effect + ": " + errorCell(f.Why)
}

// flowPublishVerb returns the action that publishes one message to a source.
func flowPublishVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	id := flags.String("id", "", "the `ID` of the message; one that was seen within a day is not processed again (default a new one)")
	contentType := flags.String("type", "", "what the body is, a `CONTENT-TYPE` such as application/json")
	metadata := make(map[string]string)
	flags.Func("metadata", "`KEY=VALUE` beside the body; may be given again", func(pair string) error {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return errors.New("it must be KEY=VALUE")
		}
		metadata[key] = value
		return nil
	})
	return func(ctx context.Context, t *terminal, args []string) error {
		body, err := readBody(t, args)
		if err != nil {
			return err
		}
		params := map[string]any{"flow": args[0], "id": *id, "contenttype": *contentType, "metadata": metadata}
		if utf8.Valid(body) {
			params["body"] = string(body)
		} else {
			params["base64"] = base64.StdEncoding.EncodeToString(body)
		}
		answer, err := c.call(ctx, "Flows.publish", params)
		if err != nil {
			return fmt.Errorf("cannot publish to %s: %w", args[0], err)
		}
		return printJSONOrText(t, format, "receipt", answer, func(receipt struct {
			ID   string `json:"id"`
			Seen bool   `json:"seen"`
		}) string {
			if receipt.Seen {
				return receipt.ID + " was seen before, and is not processed again\n"
			}
			return receipt.ID + "\n"
		})
	}
}

// readBody returns the body that the arguments name: a text, @FILE, or - for standard input.
func readBody(t *terminal, args []string) ([]byte, error) {
	if len(args) < 2 {
		return nil, nil
	}
	raw, _, err := readArgument(t.in, args[1])
	return raw, err
}

// deadRecord is a dead letter as Flows.dead and Flows.showdead return it.
type deadRecord struct {
	Key         int64             `json:"key"`
	ID          string            `json:"id"`
	Published   string            `json:"published"`
	Died        string            `json:"died"`
	Failed      int               `json:"failed"`
	Kills       int               `json:"kills"`
	Why         string            `json:"why"`
	Size        int64             `json:"size"`
	Topic       string            `json:"topic"`
	ContentType string            `json:"contenttype"`
	Metadata    map[string]string `json:"metadata"`
	Body        []byte            `json:"body"`
}

// deadListVerb returns the action that lists the dead letters of a flow.
func deadListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		all := []deadRecord{}
		for after := int64(0); ; {
			some, err := callAndDecode[[]deadRecord](ctx, c, "dead", map[string]any{"flow": args[0], "after": after, "limit": 1000})
			if err != nil {
				return fmt.Errorf("cannot list the dead letters of %s: %w", args[0], err)
			}
			if len(some) == 0 {
				break
			}
			all, after = append(all, some...), some[len(some)-1].Key
		}
		if format.isJSON() {
			return t.printIndentedJSON(all)
		}
		if len(all) == 0 {
			t.printf("%s has no dead letters\n", args[0])
			return nil
		}
		rows := table{}
		rows.addRow("KEY", "ID", "DIED", "SIZE", "ATTEMPTS", "WHY")
		for _, d := range all {
			rows.addRow(fmt.Sprint(d.Key), d.ID, formatTimeAndAge(d.Died), bytesize.Format(d.Size), fmt.Sprint(d.Failed), errorCell(d.Why))
		}
		t.printf("%s", rows.alignedText(t.width))
		return nil
	}
}

// deadShowVerb returns the action that prints one dead letter: with -o json all of it, else its
// body alone on standard output and the rest on standard error.
func deadShowVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		key, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return &usageError{err: fmt.Errorf("%q is not the KEY of a dead letter; dormouse flow dead list %s shows them", args[1], args[0])}
		}
		answer, err := c.call(ctx, "Flows.showdead", map[string]any{"flow": args[0], "key": key})
		if err != nil {
			what := fmt.Sprintf("the dead letter %d of %s", key, args[0])
			return fmt.Errorf("cannot show %s: %w", what, withoutBeginning(err, "cannot read "+what))
		}
		if format.isJSON() {
			return t.printIndentedJSON(answer)
		}
		var d deadRecord
		if err := json.Unmarshal(answer, &d); err != nil {
			return fmt.Errorf("cannot understand the host's dead letter: %w", err)
		}
		rows := table{}
		rows.addRow("id", d.ID)
		rows.addRow("published", formatTimeAndAge(d.Published))
		rows.addRow("died", formatTimeAndAge(d.Died))
		rows.addTextRows("why", d.Why)
		rows.addRow("attempts", fmt.Sprint(d.Failed))
		rows.addRow("type", textOrDash(d.ContentType))
		for _, key := range slices.Sorted(maps.Keys(d.Metadata)) {
			rows.addRow("metadata", key+"="+d.Metadata[key])
		}
		t.printErrf("%s\n", rows.alignedText(0))
		if t.outIsTerminal {
			t.printf("%s\n", d.Body)
			return nil
		}
		if _, err := t.out.Write(d.Body); err != nil {
			return fmt.Errorf("cannot write the result: %w", err)
		}
		return nil
	}
}

// deadChangeVerb returns the function that prepares the verb dead retry or dead discard, whose
// outcome is called done.
func deadChangeVerb(verb, done string) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c := addHostFlag(flags)
		all := flags.Bool("all", false, "all dead letters of the flow")
		return func(ctx context.Context, t *terminal, args []string) error {
			keys := []int64{}
			for _, text := range args[1:] {
				key, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return &usageError{err: fmt.Errorf("%q is not the KEY of a dead letter; dormouse flow dead list %s shows them", text, args[0])}
				}
				keys = append(keys, key)
			}
			if *all == (len(keys) > 0) {
				return &usageError{err: errors.New("it takes either the KEYs of dead letters or --all")}
			}
			params := map[string]any{"flow": args[0], "all": true}
			if !*all {
				params = map[string]any{"flow": args[0], "keys": keys}
			}
			changed, err := callAndDecode[struct{ Count int }](ctx, c, verb+"dead", params)
			if err != nil {
				return fmt.Errorf("cannot %s dead letters of %s: %w", verb, args[0], err)
			}
			t.printf("%s: %d %s\n", args[0], changed.Count, done)
			return nil
		}
	}
}
