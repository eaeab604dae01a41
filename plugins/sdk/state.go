package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/plugins/state/statepb"
	"dormouse/shell/shellpb"
)

// Errors of a StateStore, besides ErrSlept and those of ctx. Each also wraps an *Error.
var (
	// ErrNotFound means that there is no such key or blob.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that a key or blob has another revision than the call asks for.
	ErrConflict = errors.New("it was changed meanwhile")
	// ErrFull means that a quota or the host's disk is full, or too many blobs are under way;
	// the text says what is left.
	ErrFull = errors.New("the state is full")
)

// StateStore is what the host keeps for one instance: keys with JSON values, and blobs, which are
// files of any size. It outlives restart, crash, upgrade and removal of the plugin; the rollback
// of a package puts the state of the version before back. No other plugin reaches it. What a
// method has changed is on the host's disk when the method returns nil.
//
// Each change has a revision, a number that only grows. A method with If in its name makes its
// change only if the key or blob still has the revision that it is given, 0 for "is not there",
// and else fails with an ErrConflict.
type StateStore struct {
	host *Host
	as   string // callsign of a virtual plugin; empty for the plugin's own instance
}

// State returns the state of the plugin's own instance.
func (h *Host) State() *StateStore { return &StateStore{host: h} }

// StateOf returns the state of a virtual plugin that the plugin's instance is the parent of.
func (h *Host) StateOf(child string) *StateStore { return &StateStore{host: h, as: child} }

// Entry is one key. Revision is 0 for a key that is not there.
type Entry struct {
	Key      string
	Value    json.RawMessage
	Revision uint64
	Changed  time.Time
}

// Decode decodes the value into what v points to.
func (e Entry) Decode(v any) error { return json.Unmarshal(e.Value, v) }

// Get returns one key. The error wraps ErrNotFound if there is none.
func (s *StateStore) Get(ctx context.Context, key string) (Entry, error) {
	answer, err := s.client().Get(s.context(ctx), &statepb.GetRequest{Key: key})
	if err != nil {
		return Entry{}, stateError(ctx, fmt.Sprintf("get the key %q", key), err)
	}
	return entryFromWire(answer), nil
}

// Set sets one key to v, which is encoded as JSON of at most 64 KiB. It returns the new revision,
// and what the key was before.
func (s *StateStore) Set(ctx context.Context, key string, v any) (revision uint64, old Entry, err error) {
	return s.set(ctx, key, v, nil)
}

// SetIf sets one key if it has that revision, and returns the new one.
func (s *StateStore) SetIf(ctx context.Context, key string, v any, revision uint64) (uint64, error) {
	revision, _, err := s.set(ctx, key, v, &revision)
	return revision, err
}

func (s *StateStore) set(ctx context.Context, key string, v any, wanted *uint64) (revision uint64, old Entry, err error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return 0, Entry{}, fmt.Errorf("cannot encode the key %q: %w", key, err)
	}
	answer, err := s.client().Set(s.context(ctx), &statepb.SetRequest{Key: key, Value: raw, IfRevision: wanted})
	if err != nil {
		return 0, Entry{}, stateError(ctx, fmt.Sprintf("set the key %q", key), err)
	}
	return answer.GetRevision(), entryFromWire(answer.GetOld()), nil
}

// Delete deletes one key, and returns what it was. A key that is not there is no error.
func (s *StateStore) Delete(ctx context.Context, key string) (old Entry, err error) {
	return s.delete(ctx, key, nil)
}

// DeleteIf deletes one key if it has that revision.
func (s *StateStore) DeleteIf(ctx context.Context, key string, revision uint64) error {
	_, err := s.delete(ctx, key, &revision)
	return err
}

func (s *StateStore) delete(ctx context.Context, key string, wanted *uint64) (Entry, error) {
	answer, err := s.client().Delete(s.context(ctx), &statepb.DeleteRequest{Key: key, IfRevision: wanted})
	if err != nil {
		return Entry{}, stateError(ctx, fmt.Sprintf("delete the key %q", key), err)
	}
	return entryFromWire(answer.GetOld()), nil
}

// KeyChange is one of the changes of StateStore.Change. Without Delete and Check it sets the key to
// Value.
type KeyChange struct {
	Key    string
	Value  any // is encoded as JSON
	Delete bool
	Check  bool    // changes nothing; only If is looked at
	If     *uint64 // the revision that the key must have, 0 for none; nil: any
}

// Change makes up to 64 changes, all of them or none. It returns the revision that the state has
// then, and what each key was before its change.
func (s *StateStore) Change(ctx context.Context, changes ...KeyChange) (revision uint64, old []Entry, err error) {
	request := &statepb.ChangeRequest{}
	for _, c := range changes {
		one := &statepb.KeyChange{Key: c.Key, IfRevision: c.If}
		switch {
		case c.Delete:
			one.Change = &statepb.KeyChange_Delete{Delete: true}
		case c.Check:
			one.Change = &statepb.KeyChange_Check{Check: true}
		default:
			raw, err := json.Marshal(c.Value)
			if err != nil {
				return 0, nil, fmt.Errorf("cannot encode the key %q: %w", c.Key, err)
			}
			one.Change = &statepb.KeyChange_Set{Set: raw}
		}
		request.Changes = append(request.Changes, one)
	}
	answer, err := s.client().Change(s.context(ctx), request)
	if err != nil {
		return 0, nil, stateError(ctx, "change keys", err)
	}
	for _, e := range answer.GetOld() {
		old = append(old, entryFromWire(e))
	}
	return answer.GetRevision(), old, nil
}

// UpdateKey sets a key to what change makes of its value, which is the zero value if there is no
// such key. If the key changes meanwhile, change is called again with the new value. An error of
// change is returned, and nothing is set.
func UpdateKey[T any](ctx context.Context, s *StateStore, key string, change func(T) (T, error)) error {
	for {
		var value T
		e, err := s.Get(ctx, key)
		if err == nil {
			err = e.Decode(&value)
		} else if errors.Is(err, ErrNotFound) {
			err = nil
		}
		if err == nil {
			value, err = change(value)
		}
		if err == nil {
			_, err = s.SetIf(ctx, key, value, e.Revision)
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// List goes through the keys with that prefix, in the order of their bytes. Keys that change
// meanwhile may be there or not. An error ends it.
func (s *StateStore) List(ctx context.Context, prefix string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for after := ""; ; {
			page, err := s.client().List(s.context(ctx), &statepb.ListRequest{Prefix: prefix, After: after, WithValues: true})
			if err != nil {
				yield(Entry{}, stateError(ctx, fmt.Sprintf("list the keys %q", prefix), err))
				return
			}
			for _, e := range page.GetEntries() {
				if !yield(entryFromWire(e), nil) {
					return
				}
			}
			if after = page.GetNext(); after == "" {
				return
			}
		}
	}
}

// Usage is how much an instance has, and may have; 0 for no bound.
type Usage struct {
	Keys, KeyBytes, Blobs, BlobBytes             uint64
	MaxKeys, MaxKeyBytes, MaxBlobs, MaxBlobBytes uint64
}

// Usage returns how much the instance has, and may have.
func (s *StateStore) Usage(ctx context.Context) (Usage, error) {
	u, err := s.client().Usage(s.context(ctx), &statepb.UsageRequest{})
	if err != nil {
		return Usage{}, stateError(ctx, "read the usage of the state", err)
	}
	return Usage{
		u.GetKeys(), u.GetKeyBytes(), u.GetBlobs(), u.GetBlobBytes(),
		u.GetMaxKeys(), u.GetMaxKeyBytes(), u.GetMaxBlobs(), u.GetMaxBlobBytes(),
	}, nil
}

// client returns a client of the host's State service.
func (s *StateStore) client() statepb.StateClient {
	return statepb.NewStateClient(s.host.connOrFailing())
}

// context returns the context of a call to the host.
func (s *StateStore) context(ctx context.Context) context.Context { return shellpb.WithAs(ctx, s.as) }

// entryFromWire returns a key as the plugin gets it.
func entryFromWire(e *statepb.Entry) Entry {
	return Entry{e.GetKey(), e.GetValue(), e.GetRevision(), timeFromWire(e.GetChanged())}
}

// timeFromWire returns a time, the zero time for none.
func timeFromWire(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// stateErrors is the error of a StateStore for the code of a gRPC status.
var stateErrors = map[codes.Code]error{
	codes.NotFound: ErrNotFound, codes.Aborted: ErrConflict, codes.ResourceExhausted: ErrFull,
}

// stateError is errorFromHost for calls of a StateStore.
func stateError(ctx context.Context, action string, err error) error {
	told := errorFromHost(ctx, action, err)
	kind, known := stateErrors[status.Code(err)]
	if !known || errors.Is(told, ErrSlept) {
		return told
	}
	return &kindError{told, kind}
}

// kindError is an error that wraps one more, without its text.
type kindError struct{ told, kind error }

func (e *kindError) Error() string   { return e.told.Error() }
func (e *kindError) Unwrap() []error { return []error{e.told, e.kind} }
