package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
)

// rig is a State on a disk of its own.
type rig struct {
	*testing.T
	*State
	root string
	told bytes.Buffer // the log
}

// newRig opens the state in root, or in a new directory for "".
func newRig(t *testing.T, root string, config configs.State) *rig {
	t.Helper()
	if root == "" {
		root = t.TempDir()
	}
	r := &rig{T: t, root: root}
	s, err := store.Open(filepath.Join(root, "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.State, err = New(Options{Store: s, Dir: filepath.Join(root, DirName), Quotas: config, Log: zerolog.New(&r.told)})
	if err != nil {
		t.Fatal(errors.Join(err, s.Close()))
	}
	t.Cleanup(func() { _ = s.Close() })
	return r
}

// reopened closes the state and opens it again, as the next host does.
func (r *rig) reopened() *rig {
	r.Helper()
	must(r.T, r.store.Close())
	return newRig(r.T, r.root, r.quotasNow())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) set(owner, key, value string) (revision int64) {
	r.Helper()
	revision, _, err := r.Change(r.Context(), owner, Change{Key: key, Value: []byte(value)})
	must(r.T, err)
	return revision
}

func (r *rig) put(owner, name, text string) Blob {
	r.Helper()
	b, err := r.upload(r.Context(), owner, UploadStart{Name: name}, []byte(text))
	must(r.T, err)
	return b
}

// upload puts a blob in parts of 100 KiB.
func (r *rig) upload(ctx context.Context, owner string, start UploadStart, text []byte) (Blob, error) {
	u, err := r.NewUpload(ctx, owner, start)
	if err != nil {
		return Blob{}, err
	}
	defer u.Discard()
	if _, err := io.CopyBuffer(onlyWriter{u}, bytes.NewReader(text), make([]byte, 100<<10)); err != nil {
		return Blob{}, err
	}
	return u.Finish(ctx)
}

// text returns the content of a blob.
func (r *rig) text(owner, name string) string {
	r.Helper()
	b, err := r.OpenBlob(r.Context(), owner, name)
	must(r.T, err)
	defer b.Close()
	text, err := io.ReadAll(b)
	must(r.T, err)
	return string(text)
}

// files returns how many files of blobs there are.
func (r *rig) fileCount() int {
	r.Helper()
	sizes, err := r.files.Sizes()
	must(r.T, err)
	return len(sizes)
}

// verify fails the test unless the counters are those of the rows, and each blob has its file and
// each file its blob.
func (r *rig) verify() {
	r.Helper()
	sizes, err := r.files.Sizes()
	must(r.T, err)
	total := int64(0)
	err = r.store.View(r.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query(ownerColumns)
		if err != nil {
			return err
		}
		for rows.Next() {
			var has, want ownerRow
			if err := has.scan(rows); err != nil {
				return err
			}
			want.owner, want.revision = has.owner, has.revision
			count := `SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0) FROM state_keys WHERE owner = ?`
			if err := tx.QueryRow(count, has.owner).Scan(&want.keys, &want.keyBytes); err != nil {
				return err
			}
			count = `SELECT count(*), coalesce(sum(size), 0) FROM state_blobs WHERE owner = ?`
			if err := tx.QueryRow(count, has.owner).Scan(&want.blobs, &want.blobBytes); err != nil {
				return err
			}
			if has != want {
				r.Errorf("the row of %s is %+v, and its keys and blobs are %+v", has.owner, has, want)
			}
			total += has.bytes()
		}
		lost, err := takeWholeFiles(tx, sizes)
		if len(lost) > 0 {
			r.Errorf("blobs without their files: %+v", lost)
		}
		return errors.Join(err, rows.Err())
	})
	must(r.T, err)
	if len(sizes) > 0 {
		r.Errorf("files without a blob: %v", sizes)
	}
	if all := r.allBytes(); all != total {
		r.Errorf("all owners have %d bytes, and %d are counted", total, all)
	}
}

// wantError fails the test unless err is of that kind and says all of that.
func wantError(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	for _, text := range texts {
		if !bytes.Contains([]byte(err.Error()), []byte(text)) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

// randomText returns n bytes that differ by seed.
func randomText(n int, seed string) string {
	text := bytes.Repeat([]byte(fmt.Sprintf("%s-%d;", seed, n)), n/(len(seed)+2)+1)
	return string(text[:n])
}

// at has the clock of the state be at that time.
func (r *rig) at(when time.Time) { r.clock = func() time.Time { return when } }
