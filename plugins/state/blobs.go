package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// Blob is what is known of a blob.
type Blob struct {
	Name        string
	Size        int64
	ContentType string
	SHA256      [sha256.Size]byte
	Revision    int64 // 0 for a blob that is not there
	Changed     time.Time

	file string // its name
}

const blobColumns = `SELECT name, file, size, type, sha256, revision, changed, checksum FROM state_blobs`

// scan reads a row of the owner's.
func (b *Blob) scan(owner string, from interface{ Scan(...any) error }) error {
	var sum []byte
	var changed, check int64
	if err := from.Scan(&b.Name, &b.file, &b.Size, &b.ContentType, &sum, &b.Revision, &changed, &check); err != nil {
		return err
	}
	copy(b.SHA256[:], sum)
	b.Changed = time.UnixMilli(changed).UTC()
	if check != b.checksum(owner) {
		return damagedError("blob", b.Name)
	}
	return nil
}

// write writes the row.
func (b Blob) write(tx *store.Tx, owner string) error {
	_, err := tx.Exec(`INSERT INTO state_blobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (owner, name) DO UPDATE SET
		file = excluded.file, size = excluded.size, type = excluded.type, sha256 = excluded.sha256,
		revision = excluded.revision, changed = excluded.changed, checksum = excluded.checksum`,
		owner, b.Name, b.file, b.Size, b.ContentType, b.SHA256[:], b.Revision, b.Changed.UnixMilli(), b.checksum(owner))
	return err
}

func (b Blob) checksum(owner string) int64 {
	return checksum([]int64{b.Size, b.Revision, b.Changed.UnixMilli()}, owner, b.Name, b.file, b.ContentType, string(b.SHA256[:]))
}

// readBlob returns a blob, with revision 0 if there is none. With an ErrDamaged the blob has what
// is there.
func readBlob(tx *store.Tx, owner, name string) (b Blob, err error) {
	b.Name = name
	err = b.scan(owner, tx.QueryRow(blobColumns+` WHERE owner = ? AND name = ?`, owner, name))
	if errors.Is(err, sql.ErrNoRows) {
		return Blob{Name: name}, nil
	}
	return b, err
}

// Blob returns what is known of a blob of the owner, or an ErrNotFound.
func (s *State) Blob(ctx context.Context, owner, name string) (b Blob, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		b, err = readBlob(tx, owner, name)
		return err
	})
	if err == nil && b.Revision == 0 {
		err = fmt.Errorf("%w: there is no blob %.64q", ErrNotFound, name)
	}
	return b, err
}

// OpenBlob returns a blob of the owner with its file, which stays as it is while it is open. The
// error is an ErrNotFound if there is none, an ErrBusy if too many are open.
func (s *State) OpenBlob(ctx context.Context, owner, name string) (*OpenedBlob, error) {
	if err := s.whyMissing(); err != nil {
		return nil, err
	}
	end, err := s.transfers.begin(owner)
	if err != nil {
		return nil, err
	}
	b, f, err := s.openFile(ctx, owner, name)
	if err != nil {
		end()
		return nil, err
	}
	return &OpenedBlob{b, f, end}, nil
}

// OpenedBlob is a blob that is being read.
type OpenedBlob struct {
	Blob
	*os.File

	end func()
}

// Close closes the file.
func (o *OpenedBlob) Close() error {
	o.end()
	return o.File.Close()
}

// openFile opens the file of a blob. A blob that is replaced in between is looked up again.
func (s *State) openFile(ctx context.Context, owner, name string) (Blob, *os.File, error) {
	last := ""
	for {
		b, err := s.Blob(ctx, owner, name)
		if err != nil {
			return Blob{}, nil, err
		}
		f, err := s.files.Open(b.file)
		switch {
		case err == nil:
			return b, f, b.checkSize(f)
		case !errors.Is(err, fs.ErrNotExist):
			return Blob{}, nil, fmt.Errorf("cannot open the blob %q: %w", name, err)
		case b.file == last:
			return Blob{}, nil, fmt.Errorf("%w: the file of the blob %q is gone; write it anew, or delete it", ErrDamaged, name)
		}
		last = b.file
	}
}

// checkSize returns an ErrDamaged, and closes the file, if it is not as large as the blob.
func (b Blob) checkSize(f *os.File) error {
	info, err := f.Stat()
	if err == nil && info.Size() != b.Size {
		err = fmt.Errorf("%w: the file of the blob %q has %d of its %d bytes; write it anew, or delete it", ErrDamaged, b.Name, info.Size(), b.Size)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// DeleteBlob deletes a blob of the owner. A blob that is not there is no error. It returns the
// owner's revision, and what the blob was.
func (s *State) DeleteBlob(ctx context.Context, owner, name string, wanted *int64) (revision int64, old Blob, err error) {
	if err := checkBlobName(name); err != nil {
		return 0, old, err
	}
	err = s.change(ctx, owner, func(tx *store.Tx, row *ownerRow) error {
		old, err = readBlob(tx, owner, name)
		if errors.Is(err, ErrDamaged) && wanted == nil {
			err = nil
		}
		if err == nil {
			err = checkRevision(fmt.Sprintf("blob %q", name), wanted, old.Revision)
		}
		if err != nil {
			return err
		}
		if old.Revision != 0 {
			row.revision++
			row.blobs--
			row.blobBytes -= old.Size
			_, err = tx.Exec(`DELETE FROM state_blobs WHERE owner = ? AND name = ?`, owner, name)
		}
		revision = row.revision
		return err
	})
	if err != nil {
		return 0, old, err
	}
	failpoint.Hit("state.blobdeleted")
	if old.Revision != 0 {
		s.removeFiles(old.file)
	}
	return revision, old, nil
}

// whyMissing returns why the files of the blobs can't be used, nil if they can.
func (s *State) whyMissing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.missing
}
