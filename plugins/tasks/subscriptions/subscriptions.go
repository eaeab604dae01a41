// Package subscriptions tells others over HTTP what happens to tasks: it keeps the
// subscriptions, and puts a delivery into the outbox in the transaction of each change. It does
// not know what changes a task, nor how a delivery is made.
package subscriptions

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dormouse/internal/outbox"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
)

// Kind is the kind of the deliveries.
const Kind = "task"

// maxPerTask is how many subscriptions a task may have.
const maxPerTask = 1000

// schema makes the table, one string for each version.
var schema = []string{`
CREATE TABLE task_subscriptions (
	n      INTEGER PRIMARY KEY AUTOINCREMENT,
	task   TEXT NOT NULL,
	url    TEXT NOT NULL,
	events INTEGER NOT NULL, -- 0 for all
	source TEXT NOT NULL,    -- the task's address as the subscriber knows it
	signed INTEGER NOT NULL, -- its line has a secret
	UNIQUE (task, url, events)
);
`}

// Options is what Open needs.
type Options struct {
	Store  *store.Store
	Outbox *outbox.Outbox
	// Address returns the public address of a task, which subscribers get that know no other.
	Address func(task string) string
	// Own are the webhooks of this host itself, which are called without HTTP; nil for none.
	Own Own
}

// Own are webhooks of this host itself.
type Own interface {
	// Token returns the token of the webhook with that URL; false if it is another's.
	Token(url string) (token string, own bool)
	// CalledIn is told in the transaction of a change of the task.
	CalledIn(tx *store.Tx, token, task string) error
}

// ownToken returns the token of a webhook of this host; false if it is another's.
func (s *Subscriptions) ownToken(url string) (token string, own bool) {
	if s.Own == nil {
		return "", false
	}
	return s.Own.Token(url)
}

// Subscriptions are those of all tasks. Their methods are part of the transactions of tasks.
type Subscriptions struct {
	Options
	now func() time.Time
}

var _ tasks.Subscriptions = (*Subscriptions)(nil)

// Open returns the subscriptions in the store. The outbox must be of the same store.
func Open(o Options) (*Subscriptions, error) {
	if err := o.Store.Define("subscriptions", schema...); err != nil {
		return nil, fmt.Errorf("cannot keep subscriptions: %w", err)
	}
	s := &Subscriptions{Options: o, now: time.Now}
	o.Outbox.Handle(Kind, outbox.Kind{Gone: s.endLine})
	return s, nil
}

// Check returns why there can be no such subscription: an error that wraps tasks.ErrInvalid.
func (s *Subscriptions) Check(one tasks.Subscription) error {
	if _, own := s.ownToken(one.URL); own {
		return nil
	}
	if err := s.Outbox.CheckTarget(one.URL); err != nil {
		return fmt.Errorf("%w: there can be no webhook to %.200q: %w", tasks.ErrInvalid, one.URL, err)
	}
	if one.Secret == "" {
		return nil
	}
	if err := outbox.CheckSecret(one.Secret); err != nil {
		return fmt.Errorf("%w: %w", tasks.ErrInvalid, err)
	}
	return nil
}

// Subscribe adds a subscription to a task. One to the same URL and events is the same: it keeps
// its source, and gets the secret, if there is one, beside the one that it had.
func (s *Subscriptions) Subscribe(tx *store.Tx, task string, one tasks.Subscription) error {
	if one.Source == "" && s.Address != nil {
		one.Source = s.Address(task)
	}
	var n int64
	err := tx.QueryRow(`SELECT n FROM task_subscriptions WHERE task = ? AND url = ? AND events = ?`, task, one.URL, one.Event).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		if err := checkRoom(tx, task); err != nil {
			return err
		}
		err = tx.QueryRow(`INSERT INTO task_subscriptions (task, url, events, source, signed) VALUES (?, ?, ?, ?, FALSE) RETURNING n`,
			task, one.URL, one.Event, one.Source).Scan(&n)
	}
	if err != nil || one.Secret == "" {
		return err
	}
	if err := s.Outbox.SetSecret(tx, lineOf(task, n), one.Secret); err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE task_subscriptions SET signed = TRUE WHERE n = ?`, n)
	return err
}

// checkRoom returns an error that wraps tasks.ErrFull if the task can have no more subscriptions.
func checkRoom(tx *store.Tx, task string) error {
	var count int
	err := tx.QueryRow(`SELECT count(*) FROM task_subscriptions WHERE task = ?`, task).Scan(&count)
	if err == nil && count >= maxPerTask {
		err = fmt.Errorf("%w: the task has %d subscriptions; unsubscribe those that are of no use", tasks.ErrFull, count)
	}
	return err
}

// Unsubscribe removes the subscriptions of the URL to a task, with all that was not told yet: the
// one to these events, or all.
func (s *Subscriptions) Unsubscribe(tx *store.Tx, task, url string, events tasks.Events, all bool) error {
	return s.remove(tx, task, `SELECT n FROM task_subscriptions WHERE task = ? AND url = ? AND (? OR events = ?)`, task, url, all, events)
}

// Forget removes all subscriptions to a task that is no more.
func (s *Subscriptions) Forget(tx *store.Tx, task string) error {
	return s.remove(tx, task, `SELECT n FROM task_subscriptions WHERE task = ?`, task)
}

// remove removes the subscriptions to the task whose numbers the query returns.
func (s *Subscriptions) remove(tx *store.Tx, task, query string, args ...any) error {
	rows, err := tx.Query(query, args...)
	if err != nil {
		return err
	}
	var numbers []int64
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return err
		}
		numbers = append(numbers, n)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, n := range numbers {
		if err := s.Outbox.DropLine(tx, lineOf(task, n)); err != nil {
			return err
		}
		if _, err := tx.Exec(`DELETE FROM task_subscriptions WHERE n = ?`, n); err != nil {
			return err
		}
	}
	return nil
}

// Of returns the subscriptions to a task, without secrets, oldest first.
func (s *Subscriptions) Of(tx *store.Tx, task string) (all []tasks.Subscription, err error) {
	found, err := subscribed(tx, task)
	for _, one := range found {
		all = append(all, one.Subscription)
	}
	return all, err
}

// Delivered has the outbox look at what transactions have put in.
func (s *Subscriptions) Delivered() { s.Outbox.Wake() }

// lineOf returns the name of the line of a subscription.
func lineOf(task string, n int64) string { return "task/" + task + "/" + strconv.FormatInt(n, 10) }

// endLine ends the subscription whose target has answered that it is gone.
func (s *Subscriptions) endLine(tx *store.Tx, line string) error {
	n, err := strconv.ParseInt(line[strings.LastIndexByte(line, '/')+1:], 10, 64)
	if err != nil {
		return nil //nolint:nilerr // the line has lost its name with a damaged store
	}
	if _, err := tx.Exec(`DELETE FROM task_subscriptions WHERE n = ?`, n); err != nil {
		return fmt.Errorf("cannot end the subscription of %s: %w", line, err)
	}
	return nil
}
