package state

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// keptName is the file with the rows of kept state. The files of its blobs lie beside it.
const keptName = "state.jsonl"

// keptLine is one line of that file: an owner, and then each of its keys and blobs.
type keptLine struct {
	Owner    string    `json:"owner,omitempty"`
	Revision int64     `json:"revision,omitempty"`
	Key      *keptKey  `json:"key,omitempty"`
	Blob     *keptBlob `json:"blob,omitempty"`
}

type keptKey struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	Revision int64           `json:"revision"`
	Changed  int64           `json:"changed"`
}

type keptBlob struct {
	Name     string `json:"name"`
	File     string `json:"file"`
	Size     int64  `json:"size"`
	Type     string `json:"type"`
	SHA256   []byte `json:"sha256"`
	Revision int64  `json:"revision"`
	Changed  int64  `json:"changed"`
}

// Keep writes the state of owners into the empty directory dir, as it is now: a file with the
// rows, and a hard link to the file of each blob. The caller makes the directory durable.
func (s *State) Keep(ctx context.Context, dir string, owners ...string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, keptName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot keep the state: %w", err)
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	s.unlinking.Lock() // no file of a blob that is listed is removed before it has its link
	defer s.unlinking.Unlock()
	err = s.store.View(ctx, func(tx *store.Tx) error {
		for _, owner := range owners {
			if err := s.keepOwner(tx, owner, dir, lines); err != nil {
				return fmt.Errorf("cannot keep the state of %s: %w", owner, err)
			}
		}
		return nil
	})
	return errors.Join(err, buffered.Flush(), f.Close())
}

// keepOwner writes the lines of one owner, and links the files of its blobs.
func (s *State) keepOwner(tx *store.Tx, owner, dir string, lines *json.Encoder) error {
	row, err := readOwner(tx, owner)
	if err == nil {
		err = lines.Encode(keptLine{Owner: owner, Revision: row.revision})
	}
	if err != nil {
		return err
	}
	entries, err := tx.Query(`SELECT key, value, revision, changed, checksum FROM state_keys WHERE owner = ?`, owner)
	if err != nil {
		return err
	}
	for entries.Next() {
		var e Entry
		if err := e.scan(owner, entries); err != nil {
			return err
		}
		if err := lines.Encode(keptLine{Key: &keptKey{e.Key, e.Value, e.Revision, e.Changed.UnixMilli()}}); err != nil {
			return err
		}
	}
	if err := entries.Err(); err != nil {
		return err
	}
	blobs, err := tx.Query(blobColumns+` WHERE owner = ?`, owner)
	if err != nil {
		return err
	}
	for blobs.Next() {
		var b Blob
		if err := b.scan(owner, blobs); err != nil {
			return err
		}
		if err := s.files.LinkTo(dir, b.file); err != nil {
			return err
		}
		if err := lines.Encode(keptLine{Blob: &keptBlob{b.Name, b.file, b.Size, b.ContentType, b.SHA256[:], b.Revision, b.Changed.UnixMilli()}}); err != nil {
			return err
		}
	}
	return blobs.Err()
}

// PutBack gives the owners of the state that was kept in dir that state again, except those named,
// in one transaction; what they have had since is gone. It can be repeated. It does nothing if no
// state was kept there. Revisions go on from the highest that an owner has had.
func (s *State) PutBack(ctx context.Context, dir string, except ...string) error {
	kept, err := readKept(filepath.Join(dir, keptName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	kept = slices.DeleteFunc(kept, func(o *keptOwner) bool { return slices.Contains(except, o.owner) })
	if err == nil {
		err = s.linkBack(dir, kept)
	}
	if err != nil {
		return fmt.Errorf("cannot put the state back: %w", err)
	}
	failpoint.Hit("state.linkedback")
	unused, added := []string(nil), int64(0)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		for _, o := range kept {
			before, after, files, err := o.putBack(tx)
			if err != nil {
				return fmt.Errorf("cannot put the state of %s back: %w", o.owner, err)
			}
			added += after.bytes() - before.bytes()
			unused = append(unused, files...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.addBytes(added)
	failpoint.Hit("state.putback")
	s.removeFiles(unused...)
	return nil
}

// keptOwner is the state of one owner that was kept.
type keptOwner struct {
	owner    string
	revision int64
	entries  []Entry
	blobs    []Blob
}

// readKept reads the file with the rows of kept state.
func readKept(path string) (all []*keptOwner, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for lines := json.NewDecoder(bufio.NewReader(f)); ; {
		var line keptLine
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read %s: %w", path, err)
		case line.Owner != "":
			all = append(all, &keptOwner{owner: line.Owner, revision: line.Revision})
		case len(all) == 0:
			return nil, fmt.Errorf("cannot read %s: it does not begin with an owner", path)
		case line.Key != nil:
			o, k := all[len(all)-1], line.Key
			o.entries = append(o.entries, Entry{k.Key, k.Value, k.Revision, time.UnixMilli(k.Changed)})
		case line.Blob != nil:
			o, b := all[len(all)-1], line.Blob
			made := Blob{Name: b.Name, Size: b.Size, ContentType: b.Type, Revision: b.Revision, Changed: time.UnixMilli(b.Changed), file: b.File}
			copy(made.SHA256[:], b.SHA256)
			o.blobs = append(o.blobs, made)
		}
	}
}

// linkBack makes sure that the files of all kept blobs are where those of blobs are.
func (s *State) linkBack(dir string, kept []*keptOwner) error {
	if err := s.whyMissing(); err != nil {
		return err
	}
	for _, o := range kept {
		for _, b := range o.blobs {
			if err := s.files.LinkFrom(dir, b.file); err != nil {
				return fmt.Errorf("the blob %q of %s: %w", b.Name, o.owner, err)
			}
		}
	}
	return s.files.Sync()
}

// putBack replaces the rows of the owner by those that were kept. It returns the owner's row
// before and after, and the files that no blob of the owner has any more.
func (o *keptOwner) putBack(tx *store.Tx) (before, after ownerRow, unused []string, err error) {
	if before, err = readOwner(tx, o.owner); err != nil {
		return before, after, nil, err
	}
	had, err := filesOf(tx, o.owner)
	if err != nil {
		return before, after, nil, err
	}
	after = ownerRow{owner: o.owner, revision: max(before.revision, o.revision) + 1}
	err = deleteRows(tx, o.owner, false)
	for _, e := range o.entries {
		after.keys++
		after.keyBytes += e.bytes()
		err = errors.Join(err, e.write(tx, o.owner))
	}
	var has []string
	for _, b := range o.blobs {
		after.blobs++
		after.blobBytes += b.Size
		has = append(has, b.file)
		err = errors.Join(err, b.write(tx, o.owner))
	}
	unused = slices.DeleteFunc(had, func(file string) bool { return slices.Contains(has, file) })
	return before, after, unused, errors.Join(err, after.write(tx))
}
