// Package state is the built-in State: durable keys with JSON values, and blobs, for each plugin
// and each virtual plugin. It does not know what they mean, nor whether a plugin runs. An owner
// is the callsign whose state it is; its state may be there while its instance is not.
package state

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/state/blobfiles"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Callsign is the callsign of the built-in, and its class.
const Callsign = "State"

// DirName is the directory of the files of blobs in the root of a host.
const DirName = "blobs"

// Options is what New needs to make a State.
type Options struct {
	Store *store.Store
	// Dir is the directory of the files of blobs, see DirName. It is made if need be.
	Dir    string
	Quotas configs.State
	Log    zerolog.Logger
}

// State is the built-in. It can be used from New on, whether or not its instance is active.
type State struct {
	store *store.Store
	log   zerolog.Logger
	clock func() time.Time
	files *blobfiles.Dir

	// unlinking is held for reading while files of blobs are removed, and for writing by what
	// needs the files of all blobs that it has seen.
	unlinking sync.RWMutex

	transfers transfers

	mu         sync.Mutex // guards the fields below
	quotas     configs.State
	bytes      int64 // of all owners, with what changes under way add
	missing    error // why the files of the blobs can't be used; nil if they can
	supervisor *supervisor.Supervisor
}

// New opens the state of all owners. Blobs and their files are brought into agreement: what a
// host that was killed left unfinished is removed.
func New(o Options) (*State, error) {
	s := &State{
		store: o.Store, log: o.Log, clock: time.Now, quotas: o.Quotas,
		files: blobfiles.At(o.Dir), transfers: newTransfers(),
	}
	if err := o.Store.Define("state", schema...); err != nil {
		return nil, fmt.Errorf("cannot open the state of the plugins: %w", err)
	}
	if o.Store.Rebuilt() {
		if err := o.Store.Update(context.Background(), recount); err != nil {
			return nil, fmt.Errorf("cannot count the state of the plugins: %w", err)
		}
	}
	s.agreeWithFiles()
	err := o.Store.View(context.Background(), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT coalesce(sum(key_bytes + blob_bytes), 0) FROM state_owners`).Scan(&s.bytes)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of the plugins: %w", err)
	}
	return s, nil
}

// SetQuotas makes q the quotas, and reports whether they differ from those before. What is beyond
// them stays.
func (s *State) SetQuotas(q configs.State) (differ bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	differ = s.quotas != q
	s.quotas = q
	return differ
}

// quotasNow returns the quotas.
func (s *State) quotasNow() configs.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quotas
}

// Builtin returns the instance for the supervisor.
func (s *State) Builtin() supervisor.Builtin {
	return supervisor.Builtin{Callsign: Callsign, Backend: func(of *supervisor.Supervisor, _ shell.Sink) shell.Backend {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.supervisor = of
		return &backend{s}
	}}
}

// isInstance reports whether there is an instance of that callsign.
func (s *State) isInstance(callsign string) bool {
	s.mu.Lock()
	of := s.supervisor
	s.mu.Unlock()
	if of == nil {
		return false
	}
	_, found := of.Shell(callsign)
	return found
}

// change calls work with the row of the owner, and writes the row that work leaves, in one
// transaction that is on disk when change returns nil. The error is an ErrFull if the row has
// then grown beyond a quota.
func (s *State) change(ctx context.Context, owner string, work func(*store.Tx, *ownerRow) error) error {
	added := int64(0)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		before, err := readOwner(tx, owner)
		if err != nil {
			return err
		}
		after := before
		if err := work(tx, &after); err != nil || after == before {
			return err
		}
		if err := s.checkQuotas(before, after); err != nil {
			return err
		}
		added = after.bytes() - before.bytes()
		s.addBytes(added)
		return after.write(tx)
	})
	if err != nil {
		s.addBytes(-added)
	}
	return err
}

// addBytes notes that the owners have so many bytes more.
func (s *State) addBytes(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += n
}

// allBytes returns how many bytes all owners have.
func (s *State) allBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}
