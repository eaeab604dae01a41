package queue

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"dormouse/internal/store"
)

// idsAreKept is how long an accepted id is remembered.
const idsAreKept = 24 * time.Hour

// The table of ids is swept a few rows at a time, with every sweepEvery-th new id. It walks
// the table twice as fast as it grows, so old ids are at most half of it.
const (
	sweepEvery = 32
	sweepRows  = 64
)

// errSeen means that the id of a message was accepted within the last day.
var errSeen = errors.New("the id was seen")

// idSweep is how far the walk over the remembered ids is. Only transactions use it, which run
// one at a time.
type idSweep struct {
	accepted  int
	scope, id string // the last row that was looked at
}

// remember writes down the id of m. It returns errSeen if the id was accepted within the last
// day.
func (s *idSweep) remember(tx *store.Tx, m Message, now time.Time) error {
	result, err := tx.Exec(`INSERT INTO queue_ids (scope, id, accepted) VALUES (?, ?, ?)
		ON CONFLICT (scope, id) DO UPDATE SET accepted = excluded.accepted WHERE accepted <= excluded.accepted - ?`,
		m.Scope, m.ID, now.UnixMilli(), idsAreKept.Milliseconds())
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errSeen)
	}
	if s.accepted++; s.accepted%sweepEvery == 0 {
		return s.step(tx, now)
	}
	return nil
}

// step removes what is too old of the next rows of the walk.
func (s *idSweep) step(tx *store.Tx, now time.Time) error {
	var last idSweep // the zero value begins the walk again
	err := tx.QueryRow(`SELECT scope, id FROM queue_ids WHERE (scope, id) > (?, ?) ORDER BY scope, id LIMIT 1 OFFSET ?`,
		s.scope, s.id, sweepRows-1).Scan(&last.scope, &last.id)
	end := errors.Is(err, sql.ErrNoRows)
	if err != nil && !end {
		return err
	}
	_, err = tx.Exec(`DELETE FROM queue_ids WHERE (scope, id) > (?, ?) AND (? OR (scope, id) <= (?, ?)) AND accepted <= ?`,
		s.scope, s.id, end, last.scope, last.id, now.Add(-idsAreKept).UnixMilli())
	if err == nil {
		s.scope, s.id = last.scope, last.id
	}
	return err
}

// hasSeen reports whether the id of m was accepted within the last day.
func (q *Queues) hasSeen(ctx context.Context, m Message) (seen bool, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM queue_ids WHERE scope = ? AND id = ? AND accepted > ?)`,
			m.Scope, m.ID, q.now().Add(-idsAreKept).UnixMilli()).Scan(&seen)
	})
	return seen, err
}
