package tasks

import (
	"context"
	"fmt"

	"dormouse/internal/store"
)

// Subscription says which webhook is called for changes of a task. The zero Event stands for all.
type Subscription struct {
	URL    string
	Event  Events
	Source string // the address of the task as the subscriber knows it, sent with each event
	Secret string // signs what is sent, if it is not empty
}

// Subscriptions keep which webhooks are called for tasks, and call them. All but Check and
// Delivered are part of a transaction.
type Subscriptions interface {
	// Check returns why there can be no such subscription: an error that wraps ErrInvalid.
	Check(s Subscription) error
	// Subscribe adds a subscription to a task. One to the same URL and events is the same. The
	// error may wrap ErrFull.
	Subscribe(tx *store.Tx, task string, s Subscription) error
	// Unsubscribe removes the subscriptions of the URL: all, or the one to those events.
	Unsubscribe(tx *store.Tx, task, url string, events Events, all bool) error
	// Of returns the subscriptions to a task, without their secrets.
	Of(tx *store.Tx, task string) ([]Subscription, error)
	// Deliver has the subscribers told of a change, which the transaction makes, and Delivered
	// is called once that is on disk.
	Deliver(tx *store.Tx, c Change) error
	Delivered()
	// Forget removes the subscriptions to a task, which the transaction removes.
	Forget(tx *store.Tx, task string) error
}

// Subscribe adds a subscription to a task. The error wraps ErrUnknown, ErrInvalid or ErrFull.
func (t *Tasks) Subscribe(ctx context.Context, id string, s Subscription) error {
	if err := t.Subscriptions.Check(s); err != nil {
		return err
	}
	return t.ofTask(ctx, id, func(tx *store.Tx) error { return t.Subscriptions.Subscribe(tx, id, s) })
}

// Unsubscribe removes the subscriptions of the URL to a task: all, or only the one to those
// events. It is no error if there is none. The error wraps ErrUnknown.
func (t *Tasks) Unsubscribe(ctx context.Context, id, url string, events Events, all bool) error {
	return t.ofTask(ctx, id, func(tx *store.Tx) error { return t.Subscriptions.Unsubscribe(tx, id, url, events, all) })
}

// ofTask makes a change about a task, which must be there, and tells the subscriptions.
func (t *Tasks) ofTask(ctx context.Context, id string, work func(tx *store.Tx) error) error {
	err := t.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := find(tx, id); err != nil {
			return err
		}
		return work(tx)
	})
	t.Subscriptions.Delivered()
	return err
}

// SubscriptionsTo returns the subscriptions to a task, without their secrets. The error wraps
// ErrUnknown.
func (t *Tasks) SubscriptionsTo(ctx context.Context, id string) (all []Subscription, err error) {
	err = t.Store.View(ctx, func(tx *store.Tx) error {
		if _, err := find(tx, id); err != nil {
			return err
		}
		all, err = t.Subscriptions.Of(tx, id)
		return err
	})
	return all, err
}

// noSubscriptions are those of a host that sends no webhooks.
type noSubscriptions struct{}

// Check returns that there can be none.
func (noSubscriptions) Check(Subscription) error {
	return fmt.Errorf("%w: this host sends no webhooks", ErrInvalid)
}

// Subscribe does nothing, for Check has refused.
func (noSubscriptions) Subscribe(*store.Tx, string, Subscription) error { return nil }

// Unsubscribe does nothing.
func (noSubscriptions) Unsubscribe(*store.Tx, string, string, Events, bool) error { return nil }

// Of returns none.
func (noSubscriptions) Of(*store.Tx, string) ([]Subscription, error) { return nil, nil }

// Deliver does nothing.
func (noSubscriptions) Deliver(*store.Tx, Change) error { return nil }

// Delivered does nothing.
func (noSubscriptions) Delivered() {}

// Forget does nothing.
func (noSubscriptions) Forget(*store.Tx, string) error { return nil }
