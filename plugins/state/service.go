package state

import (
	"context"
	"fmt"
	"math"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/plugins/access"
	"dormouse/plugins/state/statepb"
	"dormouse/shell"
)

// ServiceDesc describes the gRPC service dormouse.state.v1.State.
var ServiceDesc = &statepb.State_ServiceDesc

// service is the gRPC service dormouse.state.v1.State.
type service struct {
	statepb.UnimplementedStateServer
	state *State
}

// Service returns the gRPC service, for plugins and for native clients.
func (s *State) Service() statepb.StateServer { return service{state: s} }

// ServiceAccess returns the role that a native client needs for a call of the service, and what
// the call is about.
func ServiceAccess(_ context.Context, fullMethod string, _ any) (access.Role, access.Target) {
	name := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	return access.Admin, access.Target{Callsign: Callsign, Method: strings.ToLower(name)}
}

// ownerOf returns whose state a request is about: the caller's own, or for a client the owner
// that it names. To a plugin the state of another is an ErrNotFound. A client that changes
// something must name an instance, or an owner that has state.
func (s service) ownerOf(ctx context.Context, named string, changes bool) (string, error) {
	caller := shell.CallerOf(ctx)
	switch {
	case caller == "":
		return named, s.state.checkOwner(ctx, named, changes)
	case named == "" || named == caller:
		return caller, nil
	}
	return "", fmt.Errorf("%w: a plugin reaches its own state alone", ErrNotFound)
}

// Get returns one key.
func (s service) Get(ctx context.Context, r *statepb.GetRequest) (*statepb.Entry, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), false)
	if err != nil {
		return nil, asStatus(err)
	}
	e, err := s.state.Get(ctx, owner, r.GetKey())
	return entryToWire(e), asStatus(err)
}

// Set sets one key.
func (s service) Set(ctx context.Context, r *statepb.SetRequest) (*statepb.SetResponse, error) {
	revision, old, err := s.changeOne(ctx, r.GetOwner(), Change{Key: r.GetKey(), Kind: SetKey, Value: r.GetValue(), If: numberFromWire(r.IfRevision)})
	if err != nil {
		return nil, asStatus(err)
	}
	return &statepb.SetResponse{Revision: uint64(revision), Old: entryOrNil(old)}, nil
}

// Delete deletes one key.
func (s service) Delete(ctx context.Context, r *statepb.DeleteRequest) (*statepb.DeleteResponse, error) {
	revision, old, err := s.changeOne(ctx, r.GetOwner(), Change{Key: r.GetKey(), Kind: DeleteKey, If: numberFromWire(r.IfRevision)})
	if err != nil {
		return nil, asStatus(err)
	}
	return &statepb.DeleteResponse{Revision: uint64(revision), Old: entryOrNil(old)}, nil
}

// changeOne makes one change of the owner that was named.
func (s service) changeOne(ctx context.Context, named string, c Change) (revision int64, old Entry, err error) {
	owner, err := s.ownerOf(ctx, named, true)
	if err != nil {
		return 0, old, err
	}
	revision, all, err := s.state.Change(ctx, owner, c)
	if err != nil {
		return 0, old, err
	}
	return revision, all[0], nil
}

// Change makes several changes as one.
func (s service) Change(ctx context.Context, r *statepb.ChangeRequest) (*statepb.ChangeResponse, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), true)
	if err != nil {
		return nil, asStatus(err)
	}
	var changes []Change
	for _, c := range r.GetChanges() {
		one, err := changeFromWire(c)
		if err != nil {
			return nil, asStatus(err)
		}
		changes = append(changes, one)
	}
	revision, old, err := s.state.Change(ctx, owner, changes...)
	if err != nil {
		return nil, asStatus(err)
	}
	answer := &statepb.ChangeResponse{Revision: uint64(revision)}
	for _, e := range old {
		answer.Old = append(answer.Old, entryToWire(e))
	}
	return answer, nil
}

// changeFromWire returns one of several changes, or an ErrInvalid.
func changeFromWire(c *statepb.KeyChange) (Change, error) {
	one := Change{Key: c.GetKey(), If: numberFromWire(c.IfRevision)}
	switch what := c.GetChange().(type) {
	case *statepb.KeyChange_Set:
		one.Kind, one.Value = SetKey, what.Set
	case *statepb.KeyChange_Delete:
		one.Kind = DeleteKey
	case *statepb.KeyChange_Check:
		one.Kind = CheckKey
	default:
		return one, fmt.Errorf("%w: the change of the key %.64q does not say what to do", ErrInvalid, c.GetKey())
	}
	return one, nil
}

// List returns a page of keys.
func (s service) List(ctx context.Context, r *statepb.ListRequest) (*statepb.ListResponse, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), false)
	if err != nil {
		return nil, asStatus(err)
	}
	l, err := s.state.List(ctx, owner, Page{r.GetPrefix(), r.GetAfter(), pageLimit(r.GetLimit())}, r.GetWithValues())
	if err != nil {
		return nil, asStatus(err)
	}
	answer := &statepb.ListResponse{Next: l.Next, Revision: uint64(l.Revision)}
	for _, e := range l.All {
		answer.Entries = append(answer.Entries, entryToWire(e))
	}
	return answer, nil
}

// Usage returns how much an owner has, and may have.
func (s service) Usage(ctx context.Context, r *statepb.UsageRequest) (*statepb.UsageResponse, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), false)
	if err != nil {
		return nil, asStatus(err)
	}
	row, err := s.state.usage(ctx, owner)
	if err != nil {
		return nil, asStatus(err)
	}
	c := s.state.quotasNow()
	return &statepb.UsageResponse{
		Revision: uint64(row.revision),
		Keys:     uint64(row.keys), KeyBytes: uint64(row.keyBytes), Blobs: uint64(row.blobs), BlobBytes: uint64(row.blobBytes),
		MaxKeys: uint64(c.MaxKeys), MaxKeyBytes: uint64(c.MaxKeyBytes), MaxBlobs: uint64(c.MaxBlobs), MaxBlobBytes: uint64(c.MaxBlobBytes),
	}, nil
}

// ShowBlob returns what is known of a blob.
func (s service) ShowBlob(ctx context.Context, r *statepb.ShowBlobRequest) (*statepb.Blob, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), false)
	if err != nil {
		return nil, asStatus(err)
	}
	b, err := s.state.Blob(ctx, owner, r.GetName())
	if err != nil {
		return nil, asStatus(err)
	}
	return blobToWire(b), nil
}

// DeleteBlob deletes a blob.
func (s service) DeleteBlob(ctx context.Context, r *statepb.DeleteBlobRequest) (*statepb.DeleteBlobResponse, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), true)
	if err != nil {
		return nil, asStatus(err)
	}
	revision, old, err := s.state.DeleteBlob(ctx, owner, r.GetName(), numberFromWire(r.IfRevision))
	if err != nil {
		return nil, asStatus(err)
	}
	answer := &statepb.DeleteBlobResponse{Revision: uint64(revision)}
	if old.Revision != 0 {
		answer.Old = blobToWire(old)
	}
	return answer, nil
}

// ListBlobs returns a page of blobs.
func (s service) ListBlobs(ctx context.Context, r *statepb.ListBlobsRequest) (*statepb.ListBlobsResponse, error) {
	owner, err := s.ownerOf(ctx, r.GetOwner(), false)
	if err != nil {
		return nil, asStatus(err)
	}
	l, err := s.state.ListBlobs(ctx, owner, Page{r.GetPrefix(), r.GetAfter(), pageLimit(r.GetLimit())})
	if err != nil {
		return nil, asStatus(err)
	}
	answer := &statepb.ListBlobsResponse{Next: l.Next, Revision: uint64(l.Revision)}
	for _, b := range l.All {
		answer.Blobs = append(answer.Blobs, blobToWire(b))
	}
	return answer, nil
}

// entryToWire returns a key as callers read it, with revision 0 for one that is not there.
func entryToWire(e Entry) *statepb.Entry {
	w := &statepb.Entry{Key: e.Key, Value: e.Value, Revision: uint64(e.Revision)}
	if e.Revision != 0 {
		w.Changed = timestamppb.New(e.Changed)
	}
	return w
}

// entryOrNil is entryToWire that returns nil for a key that is not there.
func entryOrNil(e Entry) *statepb.Entry {
	if e.Revision == 0 {
		return nil
	}
	return entryToWire(e)
}

// blobToWire returns a blob as callers read it.
func blobToWire(b Blob) *statepb.Blob {
	return &statepb.Blob{
		Name: b.Name, Size: uint64(b.Size), ContentType: b.ContentType, Sha256: b.SHA256[:],
		Revision: uint64(b.Revision), Changed: timestamppb.New(b.Changed),
	}
}

// numberFromWire returns a number that a request may have, nil for none.
func numberFromWire(r *uint64) *int64 {
	if r == nil {
		return nil
	}
	n := int64(min(*r, math.MaxInt64))
	return &n
}

// pageLimit returns the limit of a page; one that is too large stays too large.
func pageLimit(n uint32) int { return int(min(n, math.MaxInt32)) }
