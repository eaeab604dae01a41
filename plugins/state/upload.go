package state

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/state/blobfiles"
)

// UploadStart is what is known of a blob before it arrives.
type UploadStart struct {
	Name        string
	ContentType string
	// Size is how large the blob will be; nil if that is not known.
	Size *int64
	// SHA256 is what the blob must have; empty for any.
	SHA256 []byte
	// If is the revision that the present blob of that name must have, 0 for none; nil: any.
	If *int64
}

// check returns an ErrInvalid or ErrTooLarge unless there can be such a blob, and puts the media
// type into its usual form.
func (u *UploadStart) check() (err error) {
	if err := checkBlobName(u.Name); err != nil {
		return err
	}
	if u.Size != nil && *u.Size < 0 {
		return fmt.Errorf("%w: the size of a blob can't be %d", ErrInvalid, *u.Size)
	}
	if n := len(u.SHA256); n != 0 && n != sha256.Size {
		return fmt.Errorf("%w: a SHA-256 has %d bytes, and not %d", ErrInvalid, sha256.Size, n)
	}
	u.ContentType, err = checkedType(u.ContentType)
	return err
}

// Upload is a blob that arrives. Others see it once Finish has returned nil; until then Discard
// leaves nothing of it. One goroutine uses it.
type Upload struct {
	UploadStart

	state *State
	owner string
	draft *blobfiles.Draft
	end   func()

	before   ownerRow // when the upload began
	replaced int64    // bytes of the blob that had the name then
	isNew    bool     // no blob had the name when the upload ended
	arrived  int64    // bytes that transfers counts
}

// NewUpload begins to receive a blob of the owner.
func (s *State) NewUpload(ctx context.Context, owner string, start UploadStart) (*Upload, error) {
	if err := start.check(); err != nil {
		return nil, err
	}
	if err := s.whyMissing(); err != nil {
		return nil, err
	}
	end, err := s.transfers.begin(owner)
	if err != nil {
		return nil, err
	}
	u := &Upload{UploadStart: start, state: s, owner: owner, end: end}
	if err = u.begin(ctx); err == nil {
		u.draft, err = s.files.NewDraft()
		err = u.failed(err)
	}
	if err != nil {
		end()
		return nil, err
	}
	return u, nil
}

// begin reads what there is before the upload, and refuses at once what can't succeed.
func (u *Upload) begin(ctx context.Context) error {
	err := u.state.store.View(ctx, func(tx *store.Tx) (err error) {
		if u.before, err = readOwner(tx, u.owner); err != nil {
			return err
		}
		old, err := readBlob(tx, u.owner, u.Name)
		if err != nil && (!errors.Is(err, ErrDamaged) || u.If != nil) {
			return err
		}
		u.replaced = old.Size
		return checkRevision(fmt.Sprintf("blob %q", u.Name), u.If, old.Revision)
	})
	if err != nil || u.Size == nil {
		return err
	}
	return u.checkRoom(*u.Size, u.state.allBytes()+*u.Size)
}

// checkRoom returns an ErrFull if the quotas have no room for that many arriving bytes, of the
// owner, and of all owners with what they have.
func (u *Upload) checkRoom(arriving, all int64) error {
	c := u.state.quotasNow()
	mine := quota{"max-blob-bytes", "", int64(c.MaxBlobBytes), u.before.blobBytes, u.before.blobBytes - u.replaced + arriving, true}
	total := quota{"max-bytes", "", int64(c.MaxBytes), u.state.allBytes(), all - u.replaced, false}
	return cmp.Or(mine.check(u.owner), total.check(u.owner))
}

// Write appends to the blob. The error is an ErrFull as soon as a quota has no room, and an
// ErrIncomplete for more bytes than were announced.
func (u *Upload) Write(part []byte) (int, error) {
	if u.Size != nil && u.draft.Size()+int64(len(part)) > *u.Size {
		return 0, fmt.Errorf("%w: it has more than the %d bytes that were announced", ErrIncomplete, *u.Size)
	}
	u.arrived += int64(len(part))
	of, all := u.state.transfers.arrive(u.owner, int64(len(part)))
	if err := u.checkRoom(of, u.state.allBytes()+all); err != nil {
		return 0, err
	}
	n, err := u.draft.Write(part)
	return n, u.failed(err)
}

// Finish makes the blob durable and visible, in the place of the one with the same name. The
// upload has ended then, also after an error.
func (u *Upload) Finish(ctx context.Context) (b Blob, err error) {
	defer func() {
		if err != nil {
			u.Discard()
		} else {
			u.close()
		}
	}()
	b = Blob{Name: u.Name, Size: u.draft.Size(), ContentType: u.ContentType, SHA256: u.draft.Sum(), file: u.draft.Name()}
	if u.Size != nil && b.Size != *u.Size {
		return b, fmt.Errorf("%w: it has %d of the %d bytes that were announced", ErrIncomplete, b.Size, *u.Size)
	}
	if len(u.SHA256) > 0 && !bytes.Equal(u.SHA256, b.SHA256[:]) {
		return b, fmt.Errorf("%w: its SHA-256 is %x, and not %x", ErrIncomplete, b.SHA256, u.SHA256)
	}
	if err := u.draft.Finish(); err != nil {
		return b, u.failed(err)
	}
	failpoint.Hit("state.blobwhole")
	return u.publish(ctx, b)
}

// publish writes the row of the blob, and removes the file of the blob that it replaces.
func (u *Upload) publish(ctx context.Context, b Blob) (Blob, error) {
	b.Changed = time.UnixMilli(u.state.clock().UnixMilli()).UTC()
	var old Blob
	err := u.state.change(ctx, u.owner, func(tx *store.Tx, row *ownerRow) (err error) {
		old, err = readBlob(tx, u.owner, u.Name)
		if errors.Is(err, ErrDamaged) && u.If == nil {
			err = nil
		}
		if err == nil {
			err = checkRevision(fmt.Sprintf("blob %q", u.Name), u.If, old.Revision)
		}
		if err != nil {
			return err
		}
		if old.Revision != 0 {
			row.blobs--
			row.blobBytes -= old.Size
		}
		u.isNew = old.Revision == 0
		row.revision++
		row.blobs++
		row.blobBytes += b.Size
		b.Revision = row.revision
		return b.write(tx, u.owner)
	})
	if err != nil {
		return b, err
	}
	failpoint.Hit("state.blobput")
	if old.Revision != 0 {
		u.state.removeFiles(old.file)
	}
	return b, nil
}

// Discard ends the upload, and leaves nothing of it. It does nothing after Finish.
func (u *Upload) Discard() {
	if u.draft == nil {
		return
	}
	if err := u.draft.Discard(); err != nil {
		u.state.log.Error().Err(err).Msg("cannot remove the file of a blob that did not arrive")
	}
	u.close()
}

// close ends the upload.
func (u *Upload) close() {
	u.draft = nil
	u.state.transfers.arrive(u.owner, -u.arrived)
	u.end()
}

// failed returns an error of the disk with what was tried, nil for nil.
func (u *Upload) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("cannot keep the blob %q: %w", u.Name, err)
}
