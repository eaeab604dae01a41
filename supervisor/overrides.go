package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// ledger is where the roster comes from: the configuration files, and what was
// changed at run time.
type ledger struct {
	keptClones store.Bucket[clone]
	keptTables store.Bucket[table]

	changing sync.Mutex // held while the roster or a configuration changes

	files  map[string]configs.Plugin // by callsign, as the files have it
	clones map[string]clone
	tables map[string]table // what Configure set, persisted or not
}

// clone is an instance that no file names.
type clone struct {
	Version int            `json:"version"`
	Of      string         `json:"of"`
	Plugin  configs.Plugin `json:"plugin"`
}

// table is the plugin's own table of an instance, in the place of the one that
// it was made with.
type table struct {
	Version int             `json:"version"`
	JSON    json.RawMessage `json:"configuration"`
}

// recordVersion is that of both.
const recordVersion = 1

// UnmarshalJSON gives keys that a record of an earlier version does not have
// their defaults, and keeps numbers as they are written.
func (c *clone) UnmarshalJSON(raw []byte) error {
	type plain clone
	p := plain{Plugin: configs.DefaultPlugin()}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err := decoder.Decode(&p)
	*c = clone(p)
	return err
}

// openLedger reads what was changed at run time and is to outlive the host.
func openLedger(s *store.Store, plugins []configs.Plugin) (*ledger, error) {
	l := &ledger{keptClones: store.In[clone](s, "clones"), keptTables: store.In[table](s, "configurations"), files: byCallsign(plugins)}
	var err error
	if l.clones, err = l.keptClones.All(); err != nil {
		return nil, err
	}
	if l.tables, err = l.keptTables.All(); err != nil {
		return nil, err
	}
	return l, nil
}

func byCallsign(plugins []configs.Plugin) map[string]configs.Plugin {
	all := make(map[string]configs.Plugin, len(plugins))
	for _, p := range plugins {
		all[p.Callsign] = p
	}
	return all
}

// cloned are the clones' configurations, sorted by callsign. Where a file has come
// to name a clone's callsign, the file counts and the clone is kept for later.
func (l *ledger) cloned(log zerolog.Logger) (plugins []configs.Plugin) {
	for _, callsign := range slices.Sorted(maps.Keys(l.clones)) {
		taken := func(file string) bool { return strings.EqualFold(file, callsign) }
		if slices.ContainsFunc(slices.Collect(maps.Keys(l.files)), taken) {
			log.Warn().Str("callsign", callsign).Msg("the configuration names a clone's callsign, the clone is left out")
			delete(l.clones, callsign)
			continue
		}
		plugins = append(plugins, l.clones[callsign].Plugin)
	}
	return plugins
}

// base is what an instance is made from before anything is configured at run
// time.
func (l *ledger) base(callsign string) (configs.Plugin, bool) {
	if p, ok := l.files[callsign]; ok {
		return p, true
	}
	c, ok := l.clones[callsign]
	return c.Plugin, ok
}

// effective is p with the table that was set for it.
func (l *ledger) effective(p configs.Plugin) (configs.Plugin, error) {
	t, ok := l.tables[p.Callsign]
	if !ok {
		return p, nil
	}
	values, err := object(t.JSON)
	if err != nil {
		return p, fmt.Errorf("cannot use what was persisted for %s: %w", p.Callsign, err)
	}
	p.Configuration = values
	return p, nil
}

// Configure replaces the plugin's own table of an instance that is not active:
// raw is a JSON object. It holds until the host ends, unless Persist is called.
// The error wraps ErrUnknown, ErrNotAnObject or shell.ErrIllegalState.
func (s *Supervisor) Configure(ctx context.Context, callsign string, raw json.RawMessage) error {
	done, err := s.change()
	if err != nil {
		return fmt.Errorf("cannot configure: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot configure: %w: %q", ErrUnknown, callsign)
	}
	values, err := object(raw)
	if err != nil {
		return fmt.Errorf("cannot configure %s: %w", callsign, err)
	}
	config := sh.Config()
	config.Configuration = values
	if err := sh.Configure(ctx, config); err != nil {
		return err
	}
	s.ledger.tables[callsign] = table{recordVersion, slices.Clone(raw)}
	return nil
}

// Persist keeps what Configure changed across restarts of the host, for one
// instance or, when callsign is empty, for all. The error may wrap ErrUnknown.
func (s *Supervisor) Persist(_ context.Context, callsign string) error {
	return s.eachTable(callsign, "persist", func(callsign string, _ *shell.Shell) error {
		if t, ok := s.ledger.tables[callsign]; ok {
			return s.ledger.keptTables.Put(callsign, t)
		}
		return nil
	})
}

// Restore forgets what Persist kept and what Configure changed: the next
// activation sees what the configuration files say, or what a clone was made
// with. A plugin that runs keeps what it has. The error may wrap ErrUnknown.
func (s *Supervisor) Restore(_ context.Context, callsign string) error {
	return s.eachTable(callsign, "restore", func(callsign string, sh *shell.Shell) error {
		if _, ok := s.ledger.tables[callsign]; !ok {
			return nil
		}
		if err := s.ledger.keptTables.Delete(callsign); err != nil {
			return err
		}
		delete(s.ledger.tables, callsign)
		if base, ok := s.ledger.base(callsign); ok && sh != nil {
			sh.Prepare(base.Configuration)
		}
		return nil
	})
}

// eachTable works on the table of one instance, or of every one that has one.
func (s *Supervisor) eachTable(callsign, verb string, work func(callsign string, sh *shell.Shell) error) error {
	done, err := s.change()
	if err != nil {
		return fmt.Errorf("cannot %s: %w", verb, err)
	}
	defer done()
	callsigns := []string{callsign}
	if callsign == "" {
		callsigns = slices.Sorted(maps.Keys(s.ledger.tables))
	}
	for _, c := range callsigns {
		sh, ok := s.Shell(c)
		if !ok && callsign != "" {
			return fmt.Errorf("cannot %s: %w: %q", verb, ErrUnknown, c)
		}
		if err := work(c, sh); err != nil {
			return fmt.Errorf("cannot %s the configuration: %w", verb, err)
		}
	}
	return nil
}

// change lets one change of the roster at a time through, and none once the host
// stops.
func (s *Supervisor) change() (done func(), err error) {
	s.ledger.changing.Lock()
	if s.ctx.Err() != nil {
		s.ledger.changing.Unlock()
		return nil, fmt.Errorf("%w: the host is shutting down", shell.ErrUnavailable)
	}
	return s.ledger.changing.Unlock, nil
}

// object decodes a JSON object, with its numbers as they are written.
func object(raw json.RawMessage) (map[string]any, error) {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil || values == nil {
		return nil, ErrNotAnObject
	}
	if _, err := decoder.Token(); err != io.EOF { //nolint:errorlint // a Decoder returns it bare
		return nil, ErrNotAnObject
	}
	return values, nil
}
