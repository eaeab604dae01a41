package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// webhookRecord is a delivery as Webhooks.list returns it.
type webhookRecord struct {
	Key     int64  `json:"key"`
	Line    string `json:"line"`
	Kind    string `json:"kind"`
	Event   string `json:"event"`
	ID      string `json:"id"`
	Target  string `json:"target"`
	Made    string `json:"made"`
	Tries   int    `json:"tries"`
	Reason  string `json:"reason"`
	GivenUp bool   `json:"given_up"`
	Next    string `json:"next,omitempty"`
}

// againText says when the delivery is tried again.
func (r webhookRecord) againText() string {
	if r.GivenUp {
		return "given up"
	}
	return parseTimeOrZero(r.Next).Local().Format(time.DateTime)
}

// webhookListVerb returns the action that lists the webhooks that their targets have not taken.
func webhookListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		all := []webhookRecord{}
		for after := int64(0); ; {
			var some []webhookRecord
			answer, err := c.call(ctx, "Webhooks.list", map[string]any{"after": after, "limit": 1000})
			if err == nil {
				err = json.Unmarshal(answer, &some)
			}
			if err != nil {
				return fmt.Errorf("cannot list the webhooks: %w", err)
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
			t.printf("every target takes its webhooks\n")
			return nil
		}
		rows := table{}
		rows.addRow("KEY", "EVENT", "TARGET", "SINCE", "TRIES", "AGAIN", "WHY")
		for _, r := range all {
			rows.addRow(fmt.Sprint(r.Key), r.Event, r.Target, formatTimeAndAge(r.Made), fmt.Sprint(r.Tries), r.againText(), errorCell(r.Reason))
		}
		t.printf("%s", rows.alignedText(t.width))
		return nil
	}
}

// webhookChangeVerb returns the function that prepares the verb retry or discard, whose outcome is
// called done.
func webhookChangeVerb(verb, done string) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c := addHostFlag(flags)
		all := flags.Bool("all", false, "all that were given up")
		return func(ctx context.Context, t *terminal, args []string) error {
			keys := []int64{}
			for _, text := range args {
				key, err := strconv.ParseInt(text, 10, 64)
				if err != nil {
					return &usageError{err: fmt.Errorf("%q is not the KEY of a webhook; dormouse webhook list shows them", text)}
				}
				keys = append(keys, key)
			}
			if *all == (len(keys) > 0) {
				return &usageError{err: errors.New("it takes either the KEYs of webhooks or --all")}
			}
			params := map[string]any{"keys": keys}
			if *all {
				params = map[string]any{"all": true}
			}
			var changed struct{ Count int }
			answer, err := c.call(ctx, "Webhooks."+verb, params)
			if err == nil {
				err = json.Unmarshal(answer, &changed)
			}
			if err != nil {
				return fmt.Errorf("cannot %s webhooks: %w", verb, err)
			}
			t.printf("%d %s\n", changed.Count, done)
			return nil
		}
	}
}

// webhookTargets are where webhooks may go, as Webhooks.status returns it.
type webhookTargets struct {
	Configured []string `json:"configured"`
	Allowed    []string `json:"allowed"`
}

// text says where webhooks may go, for a person.
func (w webhookTargets) text() string {
	rows := table{}
	rows.addRow("TARGET", "ALLOWED BY")
	rows.addRow("public addresses", "Dormouse")
	for _, target := range w.Configured {
		rows.addRow(target, "the configuration")
	}
	for _, target := range w.Allowed {
		rows.addRow(target, "dormouse webhook allow")
	}
	return rows.alignedText(0)
}

// webhookAllowVerb returns the action that allows targets, and prints what is allowed then.
func webhookAllowVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		if len(args) == 0 {
			return showWebhookTargets(ctx, t, c, format, "Webhooks.status", nil)
		}
		return showWebhookTargets(ctx, t, c, format, "Webhooks.allow", map[string]any{"targets": args})
	}
}

// webhookDisallowVerb returns the action that takes targets back, and prints what is allowed then.
func webhookDisallowVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		return showWebhookTargets(ctx, t, c, format, "Webhooks.disallow", map[string]any{"targets": args})
	}
}

// showWebhookTargets calls a method and prints the targets that it returns.
func showWebhookTargets(ctx context.Context, t *terminal, c *client, format *outputFormat, method string, params any) error {
	answer, err := c.call(ctx, method, params)
	if err != nil {
		return fmt.Errorf("cannot %s where webhooks may go: %w", strings.Replace(strings.TrimPrefix(method, "Webhooks."), "status", "show", 1), err)
	}
	return printJSONOrText(t, format, "targets", answer, webhookTargets.text)
}
