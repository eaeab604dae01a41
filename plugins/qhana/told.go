package qhana

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dormouse/internal/outbox"
	"dormouse/internal/store"
)

// kind is the kind of all deliveries to registries.
const kind = "registry"

// told is what registries were told, one row for each plugin and registry.
var toldSchema = []string{`
CREATE TABLE qhana_told (
	registry TEXT NOT NULL, -- the root of its API
	plugin   TEXT NOT NULL, -- its address
	callsign TEXT NOT NULL,
	digest   TEXT NOT NULL, -- of its resource
	PRIMARY KEY (registry, plugin)
) WITHOUT ROWID;
`}

// Outbox is what makes the deliveries to registries.
type Outbox interface {
	Handle(kind string, k outbox.Kind)
	PutIn(tx *store.Tx, d outbox.Delivery) error
	DropLine(tx *store.Tx, line string) error
	Wake()
}

// signal is what a registry was told of a plugin, or is to be told.
type signal struct{ registry, plugin, callsign, digest string }

// lineOf returns the line of the deliveries to a registry, and rootOfLine the registry of a line.
func lineOf(registry string) string { return kind + " " + registry }
func rootOfLine(line string) string { return strings.TrimPrefix(line, kind+" ") }

// key identifies the row of a signal.
func (s signal) key() string { return s.registry + " " + s.plugin }

// NoteChange has the registries told if a plugin has come, has changed or has gone. It does not
// block.
func (q *QHAna) NoteChange() {
	select {
	case q.changed <- struct{}{}:
	default: // Run has not yet looked for the change before either
	}
}

// tellPause is how long Run waits after it has told of changes: those that come meanwhile are told
// of together.
const tellPause = 50 * time.Millisecond

// tellAgainAfter is how long Run waits before it uses a store again that has failed.
const tellAgainAfter = time.Second

// Run tells the registries of plugins that come, change and go, until ctx ends; meanwhile clients
// must reach the resources. What registries were told is kept: Run begins with what has changed
// since an earlier host. Without registries it returns at once.
func (q *QHAna) Run(ctx context.Context) {
	if len(q.Registries) == 0 {
		return
	}
	q.isServing.Store(true)
	defer q.isServing.Store(false)
	told, err := q.readTold(ctx)
	for ctx.Err() == nil {
		if err == nil {
			told, err = q.tell(ctx, told)
		}
		if err != nil && ctx.Err() == nil {
			q.Log.Error().Err(err).Msg("cannot note what registries are to be told; it is tried again")
			waitFor(ctx, tellAgainAfter)
			told, err = q.readTold(ctx)
			continue
		}
		waitFor(ctx, tellPause)
		select {
		case <-q.changed:
		case <-ctx.Done():
		}
	}
}

// waitFor returns after that time, or when ctx ends.
func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// readTold returns what registries were told, by key.
func (q *QHAna) readTold(ctx context.Context) (map[string]signal, error) {
	told := make(map[string]signal)
	err := q.Store.View(ctx, func(tx *store.Tx) error {
		rows, err := tx.Query(`SELECT registry, plugin, callsign, digest FROM qhana_told`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s signal
			if err := rows.Scan(&s.registry, &s.plugin, &s.callsign, &s.digest); err != nil {
				return err
			}
			told[s.key()] = s
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read what registries were told: %w", err)
	}
	return told, nil
}

// tell puts a delivery for each difference between what is and what was told into the outbox, and
// returns what is told then. A plugin that exists and has not said yet what it is stays as it was
// told.
func (q *QHAna) tell(ctx context.Context, told map[string]signal) (map[string]signal, error) {
	wanted, unknown := q.wanted()
	var add, remove []signal
	for key, s := range wanted {
		if told[key] != s {
			add = append(add, s)
		}
	}
	for key, s := range told {
		if _, stays := wanted[key]; !stays && !unknown[s.callsign] {
			remove = append(remove, s)
		}
	}
	if len(add)+len(remove) == 0 {
		return told, nil
	}
	for _, signals := range [][]signal{add, remove} {
		slices.SortFunc(signals, func(a, b signal) int { return strings.Compare(a.key(), b.key()) })
	}
	if err := q.putIn(ctx, add, remove); err != nil {
		return nil, err
	}
	q.Outbox.Wake()
	now := maps.Clone(told)
	for _, s := range add {
		now[s.key()] = s
	}
	for _, s := range remove {
		delete(now, s.key())
	}
	return now, nil
}

// putIn notes what registries are told from now on, and has it delivered, in one transaction.
func (q *QHAna) putIn(ctx context.Context, add, remove []signal) error {
	return q.Store.Update(ctx, func(tx *store.Tx) error {
		for _, s := range add {
			_, err := tx.Exec(`INSERT INTO qhana_told (registry, plugin, callsign, digest) VALUES (?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET callsign = excluded.callsign, digest = excluded.digest`, s.registry, s.plugin, s.callsign, s.digest)
			if err != nil {
				return err
			}
			if err := q.Outbox.PutIn(tx, s.delivery()); err != nil {
				return err
			}
		}
		for _, s := range remove {
			if _, err := tx.Exec(`DELETE FROM qhana_told WHERE registry = ? AND plugin = ?`, s.registry, s.plugin); err != nil {
				return err
			}
			if err := q.Outbox.PutIn(tx, s.delivery()); err != nil {
				return err
			}
		}
		return nil
	})
}

// forgetOthers drops what registries were told, or are yet to be told, that are configured no more.
func (q *QHAna) forgetOthers(ctx context.Context) error {
	told, err := q.readTold(ctx)
	if err != nil {
		return err
	}
	others := make(map[string]bool)
	for _, s := range told {
		if !slices.Contains(q.Registries, s.registry) {
			others[s.registry] = true
		}
	}
	if len(others) == 0 {
		return nil
	}
	return q.Store.Update(ctx, func(tx *store.Tx) error {
		for registry := range others {
			if _, err := tx.Exec(`DELETE FROM qhana_told WHERE registry = ?`, registry); err != nil {
				return err
			}
			if err := q.Outbox.DropLine(tx, lineOf(registry)); err != nil {
				return err
			}
		}
		return nil
	})
}

// delivery returns the delivery of a signal. A registry is told of a coming and of a going in the
// same way: it then asks for the plugin itself.
func (s signal) delivery() outbox.Delivery {
	return outbox.Delivery{Line: lineOf(s.registry), Kind: kind, Event: s.plugin, URL: s.registry, Replaces: true}
}

// wanted returns what registries are to know, by key, and the instances that exist and have not
// said yet what they are.
func (q *QHAna) wanted() (wanted map[string]signal, unknown map[string]bool) {
	wanted, unknown = make(map[string]signal), make(map[string]bool)
	for _, one := range q.Instances.All() {
		unknown[one.Callsign] = !one.IsKnown
	}
	for _, p := range q.listing() {
		text, err := json.Marshal(q.resourceOf(p))
		if err != nil {
			continue // it consists of texts
		}
		sum := sha256.Sum256(text)
		for _, registry := range q.Registries {
			s := signal{registry, q.pluginAddress(p.identifier), p.Callsign, hex.EncodeToString(sum[:])}
			wanted[s.key()] = s
		}
	}
	return wanted, unknown
}
