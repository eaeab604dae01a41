package outbox

import (
	"context"
	"fmt"
	"maps"
	"time"

	"dormouse/internal/store"
)

// Stats are figures of an outbox.
type Stats struct {
	Waiting  int64            // deliveries that are to be made
	Oldest   time.Time        // when the oldest of these was put in; zero if there is none
	GivenUp  int64            // deliveries that are kept for the operator
	Failures map[string]int64 // failed tries by host and port, since the host began
}

// Stats returns the figures of now.
func (o *Outbox) Stats(ctx context.Context) (s Stats, err error) {
	err = o.store.View(ctx, func(tx *store.Tx) error {
		var oldest int64
		err := tx.QueryRow(`SELECT (SELECT count(*) FROM outbox_deliveries), (SELECT count(*) FROM outbox_failed),
			coalesce((SELECT min(made) FROM outbox_deliveries), 0)`).Scan(&s.Waiting, &s.GivenUp, &oldest)
		if oldest != 0 {
			s.Oldest = time.UnixMilli(oldest)
		}
		return err
	})
	if err != nil {
		return s, fmt.Errorf("cannot count what waits in the outbox: %w", err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s.Failures = maps.Clone(o.failures)
	return s, nil
}

// Hosts whose failures are counted one by one, and the name for all others.
const (
	maxCountedHosts = 200
	otherHosts      = "other"
)

// countFailure counts a failed try at the host and port of that name.
func (o *Outbox) countFailure(target string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, known := o.failures[target]; !known && len(o.failures) >= maxCountedHosts {
		target = otherHosts
	}
	o.failures[target]++
}
