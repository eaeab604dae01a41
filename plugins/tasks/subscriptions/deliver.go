package subscriptions

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"dormouse/internal/outbox"
	"dormouse/internal/store"
	"dormouse/plugins/tasks"
	"dormouse/plugins/tasks/taskspb"
)

// everyDetails is the least time between two deliveries of "details" to one subscriber.
const everyDetails = 500 * time.Millisecond

// subscription is a row of the table.
type subscription struct {
	tasks.Subscription
	n      int64
	signed bool
}

// subscribed returns the subscriptions to a task, oldest first.
func subscribed(tx *store.Tx, task string) (all []subscription, err error) {
	rows, err := tx.Query(`SELECT n, url, events, source, signed FROM task_subscriptions WHERE task = ? ORDER BY n`, task)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var one subscription
		if err := rows.Scan(&one.n, &one.URL, &one.Event, &one.Source, &one.signed); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// Deliver puts into the outbox what subscribers are told of a change. The birth of a task is no
// event: those that have subscribed with it know of it.
func (s *Subscriptions) Deliver(tx *store.Tx, c tasks.Change) error {
	if c.Revision <= 1 {
		return nil
	}
	if c.Status == taskspb.Status_STATUS_PENDING {
		c.Events &^= tasks.StatusEvent // which tells of the end
	}
	all, err := subscribed(tx, c.Task)
	if err != nil {
		return err
	}
	for _, one := range all {
		if token, own := s.ownToken(one.URL); own {
			if err := s.Own.CalledIn(tx, token, c.Task); err != nil {
				return err
			}
			continue
		}
		for _, name := range wanted(c.Events, one.Event).Names() {
			if err := s.Outbox.PutIn(tx, s.deliveryTo(one, c, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// wanted returns those of the events that a subscription is about.
func wanted(events, subscribed tasks.Events) tasks.Events {
	if subscribed == 0 {
		return events
	}
	return events & subscribed
}

// deliveryTo returns the delivery of one event to a subscriber. Events carry no state, so a later
// one stands for an earlier one that was not told yet; the end of a task comes once.
func (s *Subscriptions) deliveryTo(one subscription, c tasks.Change, event string) outbox.Delivery {
	d := outbox.Delivery{
		Line: lineOf(c.Task, one.n), Kind: Kind, Event: event, URL: hookOf(one.URL, one.Source, event),
		Replaces: event != "status",
	}
	if event == "details" {
		d.Every = everyDetails
	}
	if one.signed {
		d.Body = s.bodyOf(one, c, event)
	}
	return d
}

// hookOf returns the URL of a webhook with the source and the event in its query.
func hookOf(hook, source, event string) string {
	hook, _, _ = strings.Cut(hook, "#")
	separator := "?"
	if strings.Contains(hook, "?") {
		separator = "&"
	}
	return hook + separator + "source=" + url.QueryEscape(source) + "&event=" + event
}

// body is the body of a signed webhook, as Standard Webhooks advises.
type body struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      bodyData  `json:"data"`
}

type bodyData struct {
	Task     string `json:"task"`
	Callsign string `json:"callsign"`
	Source   string `json:"source"`
	Event    string `json:"event"`
	Status   string `json:"status"`
	Revision uint64 `json:"revision"`
}

// bodyOf returns the body of the webhook that tells a subscriber of an event.
func (s *Subscriptions) bodyOf(one subscription, c tasks.Change, event string) []byte {
	raw, err := json.Marshal(body{
		Type: "task." + event, Timestamp: s.now().UTC(),
		Data: bodyData{
			Task: c.Task, Callsign: c.Callsign, Source: one.Source, Event: event, Revision: c.Revision,
			Status: strings.TrimPrefix(c.Status.String(), "STATUS_"),
		},
	})
	if err != nil {
		panic("subscriptions: " + err.Error()) // it has only texts and numbers
	}
	return raw
}
