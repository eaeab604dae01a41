// Package webhooks is the built-in Webhooks: it makes the deliveries of the host's outbox while
// it is active, shows operators those that their targets have not taken, and says where they may
// go. It does not know what deliveries are about.
package webhooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Callsign is the callsign of the built-in, and its class.
const Callsign = "Webhooks"

// ErrBadRequest means that the parameters of a method are wrong.
var ErrBadRequest = errors.New("wrong parameters")

// Options is what New needs to make a Webhooks.
type Options struct {
	Outbox *outbox.Outbox
	// Targets is the policy of the outbox. Configured are the rules of the configuration.
	Targets    *targets.Policy
	Configured []targets.Rule
	// Store keeps the rules that operators add; nil loses them when the host ends.
	Store *store.Store
	Log   zerolog.Logger
}

// Webhooks is the built-in. Deliveries may be put into the outbox before its instance is active.
type Webhooks struct {
	Options
	kept store.Bucket[string] // rules that operators have added

	mu      sync.Mutex // guards the fields below
	added   map[string]targets.Rule
	stop    context.CancelFunc // nil while the instance is not active
	running sync.WaitGroup
}

// New returns the built-in, with the rules that operators have added.
func New(o Options) (*Webhooks, error) {
	w := &Webhooks{Options: o, kept: store.BucketOf[string](o.Store, "webhook targets"), added: make(map[string]targets.Rule)}
	kept, err := w.kept.All()
	if err != nil {
		return nil, fmt.Errorf("cannot read where webhooks may go: %w", err)
	}
	for text := range kept {
		rule, err := targets.ParseRule(text)
		if err != nil {
			o.Log.Error().Err(err).Msg("webhooks may not go where an operator has allowed it, for the rule can't be read")
			continue
		}
		w.added[text] = rule
	}
	w.setAllowedLocked()
	return w, nil
}

// Builtin returns the instance for the supervisor.
func (w *Webhooks) Builtin() supervisor.Builtin {
	return supervisor.Builtin{Callsign: Callsign, Backend: func(*supervisor.Supervisor, shell.Sink) shell.Backend { return &backend{w} }}
}

// SetConfigured replaces the rules of the configuration, and reports whether they differ.
func (w *Webhooks) SetConfigured(rules []targets.Rule) (differ bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	differ = !slices.Equal(w.Configured, rules)
	w.Configured = rules
	w.setAllowedLocked()
	return differ
}

// setAllowedLocked tells the policy all rules. The caller holds mu, or is the only one.
func (w *Webhooks) setAllowedLocked() {
	w.Targets.SetAllowed(slices.Concat(w.Configured, slices.Collect(maps.Values(w.added))))
}

// allow adds rules, or takes them away, and keeps that.
func (w *Webhooks) allow(ctx context.Context, texts []string, isAllowed bool) error {
	rules := make(map[string]targets.Rule)
	for _, text := range texts {
		rule, err := targets.ParseRule(text)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
		rules[rule.String()] = rule
	}
	if len(rules) == 0 {
		return fmt.Errorf(`%w: name what webhooks may reach in "targets"`, ErrBadRequest)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for text := range rules {
		if _, known := w.added[text]; !known && !isAllowed {
			return fmt.Errorf("%w: %s was not added at run time; a target of the configuration is taken away there", ErrBadRequest, text)
		}
	}
	if err := w.keep(ctx, rules, isAllowed); err != nil {
		return fmt.Errorf("cannot keep where webhooks may go: %w", err)
	}
	for text, rule := range rules {
		if isAllowed {
			w.added[text] = rule
		} else {
			delete(w.added, text)
		}
	}
	w.setAllowedLocked()
	w.Log.Info().Strs("targets", slices.Sorted(maps.Keys(rules))).Bool("allowed", isAllowed).Msg("an operator has changed where webhooks may go")
	return nil
}

// keep writes the rules, or removes them, in one transaction.
func (w *Webhooks) keep(ctx context.Context, rules map[string]targets.Rule, isAllowed bool) error {
	if w.Store == nil {
		return nil
	}
	return w.Store.Update(ctx, func(tx *store.Tx) error {
		for text := range rules {
			err := w.kept.DeleteIn(tx, text)
			if isAllowed {
				err = w.kept.PutIn(tx, text, text)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// eachGivenUp calls change with the keys of all deliveries that were given up, some at a time, and
// returns how many there were.
func (w *Webhooks) eachGivenUp(ctx context.Context, change func(ctx context.Context, keys ...int64) error) (count int, err error) {
	for after := int64(0); ; {
		some, err := w.Outbox.Troubled(ctx, after, maxListed)
		if err != nil || len(some) == 0 {
			return count, err
		}
		after = some[len(some)-1].Key
		var keys []int64
		for _, one := range some {
			if one.GivenUp {
				keys = append(keys, one.Key)
			}
		}
		if err := change(ctx, keys...); err != nil && !errors.Is(err, outbox.ErrUnknown) { // another operator was quicker
			return count, err
		}
		count += len(keys)
	}
}

// withoutQuery returns a URL without what may hold secrets.
func withoutQuery(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return url
}
