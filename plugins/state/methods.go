package state

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/shell"
)

// methods are the methods of JSON-RPC by name. All need the role admin: they are about the state
// of any owner.
var methods = map[string]func(ctx context.Context, s *State, params json.RawMessage) (any, error){
	"owners": serveOwners,
	"usage":  serveUsage,
	"remove": serveRemove,

	"list":   serveList,
	"get":    serveGet,
	"set":    serveSet,
	"delete": serveDelete,
	"change": serveChange,

	"listblobs":  serveListBlobs,
	"showblob":   serveShowBlob,
	"deleteblob": serveDeleteBlob,
}

// blobMethods are the names of the methods whose role requests over HTTP for blobs need.
const (
	readsBlob  = "showblob"
	writesBlob = "deleteblob"
)

// NeededAccess returns the role that a caller needs for a call of State, and what the call is
// about. A method that State does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	if _, ok := methods[c.Method]; !ok {
		return access.Read, about
	}
	return access.Admin, about
}

// readParams decodes the parameters of a call into to. A member that to does not have is an
// ErrInvalid.
func readParams(params json.RawMessage, to any) error {
	if err := jsonrpc.DecodeParams(params, to); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// ownerParams name an owner.
type ownerParams struct {
	Owner string `json:"owner"`
}

// read reads the parameters into to, which p is part of, and checks the owner: with mustBe that
// it is an instance, or has state.
func (p *ownerParams) read(ctx context.Context, s *State, params json.RawMessage, to any, mustBe bool) error {
	if err := readParams(params, to); err != nil {
		return err
	}
	return s.checkOwner(ctx, p.Owner, mustBe)
}

// checkOwner returns an error unless a client may name the owner: an ErrNotFound with mustBe if
// the owner is neither an instance nor has state, so that a mistake in the name is noticed.
func (s *State) checkOwner(ctx context.Context, owner string, mustBe bool) error {
	if owner == "" {
		return fmt.Errorf("%w: name the owner: the callsign whose state is meant", ErrInvalid)
	}
	if !mustBe || s.isInstance(owner) {
		return nil
	}
	has, err := s.Has(ctx, owner)
	if err == nil && !has {
		err = fmt.Errorf("%w: there is no instance %.64q, and no state of it", ErrNotFound, owner)
	}
	return err
}

// usageRecord is what an owner has.
type usageRecord struct {
	Owner     string `json:"owner"`
	Instance  bool   `json:"instance"` // whether there is an instance of that callsign
	Revision  int64  `json:"revision"`
	Keys      int64  `json:"keys"`
	KeyBytes  int64  `json:"keybytes"`
	Blobs     int64  `json:"blobs"`
	BlobBytes int64  `json:"blobbytes"`
}

func (s *State) usageRecordOf(r ownerRow) usageRecord {
	return usageRecord{r.owner, s.isInstance(r.owner), r.revision, r.keys, r.keyBytes, r.blobs, r.blobBytes}
}

// serveOwners returns what each owner has that has something, and what all may have.
func serveOwners(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	if err := readParams(params, &struct{}{}); err != nil {
		return nil, err
	}
	rows, err := s.owners(ctx)
	all := []usageRecord{}
	for _, r := range rows {
		all = append(all, s.usageRecordOf(r))
	}
	return all, err
}

// serveUsage returns what one owner has, and may have.
func serveUsage(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p ownerParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	r, err := s.usage(ctx, p.Owner)
	q := s.quotasNow()
	return struct {
		usageRecord

		MaxKeys      int   `json:"maxkeys"` // 0 for no bound
		MaxKeyBytes  int64 `json:"maxkeybytes"`
		MaxBlobs     int   `json:"maxblobs"`
		MaxBlobBytes int64 `json:"maxblobbytes"`
	}{s.usageRecordOf(r), q.MaxKeys, int64(q.MaxKeyBytes), q.MaxBlobs, int64(q.MaxBlobBytes)}, err
}

// serveRemove deletes all state of an owner.
func serveRemove(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p ownerParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	if s.isInstance(p.Owner) {
		return nil, s.Clear(ctx, p.Owner)
	}
	return nil, s.Remove(ctx, p.Owner)
}

// entryRecord is a key.
type entryRecord struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value,omitempty"`
	Revision int64           `json:"revision"`
	Changed  time.Time       `json:"changed"`
}

// entryRecordOf returns a key as clients read it, nil for one that is not there.
func entryRecordOf(e Entry) *entryRecord {
	if e.Revision == 0 {
		return nil
	}
	return &entryRecord{e.Key, e.Value, e.Revision, e.Changed}
}

// pageParams name a page of keys or blobs.
type pageParams struct {
	ownerParams

	Prefix string `json:"prefix"`
	After  string `json:"after"`
	Limit  int    `json:"limit"`
	Values bool   `json:"values"` // of keys
}

func (p pageParams) page() Page { return Page{p.Prefix, p.After, p.Limit} }

// serveList returns a page of an owner's keys.
func serveList(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p pageParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	l, err := s.List(ctx, p.Owner, p.page(), p.Values)
	all := []*entryRecord{}
	for _, e := range l.All {
		all = append(all, entryRecordOf(e))
	}
	return struct {
		Entries  []*entryRecord `json:"entries"`
		Next     string         `json:"next,omitempty"`
		Revision int64          `json:"revision"`
	}{all, l.Next, l.Revision}, err
}

// keyParams name a key.
type keyParams struct {
	ownerParams

	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	Revision *int64          `json:"ifrevision"`
}

// serveGet returns one key of an owner.
func serveGet(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p keyParams
	if err := p.read(ctx, s, params, &p, false); err != nil {
		return nil, err
	}
	e, err := s.Get(ctx, p.Owner, p.Key)
	return entryRecordOf(e), err
}

// changed is the answer to a change of one key.
type changed struct {
	Revision int64        `json:"revision"`
	Old      *entryRecord `json:"old"` // null for one that was not there
}

// serveSet sets one key of an owner.
func serveSet(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p keyParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	if p.Value == nil {
		return nil, fmt.Errorf("%w: the value is missing", ErrInvalid)
	}
	return changeOne(ctx, s, p.Owner, Change{Key: p.Key, Kind: SetKey, Value: p.Value, If: p.Revision})
}

// serveDelete deletes one key of an owner.
func serveDelete(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p keyParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	return changeOne(ctx, s, p.Owner, Change{Key: p.Key, Kind: DeleteKey, If: p.Revision})
}

// changeOne makes one change, and returns the answer.
func changeOne(ctx context.Context, s *State, owner string, c Change) (any, error) {
	revision, old, err := s.Change(ctx, owner, c)
	if err != nil {
		return nil, err
	}
	return changed{revision, entryRecordOf(old[0])}, nil
}

// changeParams are several changes of an owner's keys.
type changeParams struct {
	ownerParams

	Changes []struct {
		Key      string          `json:"key"`
		Set      json.RawMessage `json:"set"`
		Delete   bool            `json:"delete"`
		Revision *int64          `json:"ifrevision"`
	} `json:"changes"`
}

// serveChange makes several changes as one. A change that neither sets nor deletes only looks at
// the revision.
func serveChange(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p changeParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	var changes []Change
	for _, c := range p.Changes {
		one := Change{Key: c.Key, Kind: CheckKey, Value: c.Set, If: c.Revision}
		switch {
		case c.Set != nil && c.Delete:
			return nil, fmt.Errorf("%w: the key %q can't be set and deleted in one change", ErrInvalid, c.Key)
		case c.Set != nil:
			one.Kind = SetKey
		case c.Delete:
			one.Kind = DeleteKey
		}
		changes = append(changes, one)
	}
	revision, old, err := s.Change(ctx, p.Owner, changes...)
	records := []*entryRecord{}
	for _, e := range old {
		records = append(records, entryRecordOf(e))
	}
	return struct {
		Revision int64          `json:"revision"`
		Old      []*entryRecord `json:"old"`
	}{revision, records}, err
}

// blobRecord is a blob.
type blobRecord struct {
	Name        string    `json:"name"`
	Size        int64     `json:"size"`
	ContentType string    `json:"contenttype"`
	SHA256      string    `json:"sha256"` // in hexadecimal
	Revision    int64     `json:"revision"`
	Changed     time.Time `json:"changed"`
}

// blobRecordOf returns a blob as clients read it, nil for one that is not there.
func blobRecordOf(b Blob) *blobRecord {
	if b.Revision == 0 {
		return nil
	}
	return &blobRecord{b.Name, b.Size, b.ContentType, hex.EncodeToString(b.SHA256[:]), b.Revision, b.Changed}
}

// serveListBlobs returns a page of an owner's blobs.
func serveListBlobs(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p pageParams
	if err := p.read(ctx, s, params, &p, true); err != nil {
		return nil, err
	}
	l, err := s.ListBlobs(ctx, p.Owner, p.page())
	all := []*blobRecord{}
	for _, b := range l.All {
		all = append(all, blobRecordOf(b))
	}
	return struct {
		Blobs    []*blobRecord `json:"blobs"`
		Next     string        `json:"next,omitempty"`
		Revision int64         `json:"revision"`
	}{all, l.Next, l.Revision}, err
}

// blobParams name a blob.
type blobParams struct {
	ownerParams

	Name     string `json:"name"`
	Revision *int64 `json:"ifrevision"`
}

// serveShowBlob returns what is known of a blob.
func serveShowBlob(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p blobParams
	if err := p.read(ctx, s, params, &p, false); err != nil {
		return nil, err
	}
	b, err := s.Blob(ctx, p.Owner, p.Name)
	return blobRecordOf(b), err
}

// serveDeleteBlob deletes a blob of an owner.
func serveDeleteBlob(ctx context.Context, s *State, params json.RawMessage) (any, error) {
	var p blobParams
	if err := p.read(ctx, s, params, &p, false); err != nil {
		return nil, err
	}
	revision, old, err := s.DeleteBlob(ctx, p.Owner, p.Name, p.Revision)
	return struct {
		Revision int64       `json:"revision"`
		Old      *blobRecord `json:"old"`
	}{revision, blobRecordOf(old)}, err
}
