package state

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/internal/store"
)

// A blob is what was put, of any size, and takes the place of the one before.
func TestBlobs(t *testing.T) {
	r := newRig(t, "", configs.State{})
	for _, size := range []int{0, 1, 100 << 10, 3<<20 + 7} {
		text := randomText(size, "blob")
		b, err := r.upload(t.Context(), "A", UploadStart{Name: "dir/b", ContentType: "Text/Plain; charset=utf-8"}, []byte(text))
		must(t, err)
		if b.Size != int64(size) || b.SHA256 != sha256.Sum256([]byte(text)) || b.ContentType != "text/plain; charset=utf-8" {
			t.Errorf("put %d bytes: %+v", size, b)
		}
		if got, err := r.Blob(t.Context(), "A", "dir/b"); got != b || err != nil {
			t.Errorf("shown is %+v, %v, want %+v", got, err, b)
		}
		if r.text("A", "dir/b") != text {
			t.Errorf("%d bytes came back as others", size)
		}
		if r.fileCount() != 1 {
			t.Errorf("there are %d files", r.fileCount())
		}
		r.verify()
	}
	r = r.reopened()
	if _, old, err := r.DeleteBlob(t.Context(), "A", "dir/b", nil); old.Size != 3<<20+7 || err != nil {
		t.Errorf("deleted %+v, %v", old, err)
	}
	if r.fileCount() != 0 {
		t.Error("the file is left")
	}
	r.verify()
}

// A blob is seen only when it is whole, and an upload that ends before leaves nothing.
func TestBlobIsSeenWhole(t *testing.T) {
	r := newRig(t, "", configs.State{})
	u, err := r.NewUpload(t.Context(), "A", UploadStart{Name: "b"})
	must(t, err)
	_, err = u.Write([]byte("half"))
	must(t, err)
	_, err = r.OpenBlob(t.Context(), "A", "b")
	wantError(t, err, ErrNotFound)
	u.Discard()
	u.Discard()
	if r.fileCount() != 0 {
		t.Error("a half blob is left")
	}
	r.put("A", "b", "whole")
	cut := fmt.Errorf("cut off")
	u, err = r.NewUpload(t.Context(), "A", UploadStart{Name: "b"})
	must(t, err)
	_, err = io.Copy(onlyWriter{u}, io.MultiReader(strings.NewReader("half"), brokenReader{cut}))
	if !errors.Is(err, cut) {
		t.Errorf("got %v", err)
	}
	u.Discard()
	if r.text("A", "b") != "whole" || r.transfers.underWay() != 0 {
		t.Error("the blob before is not whole, or a transfer is left")
	}
	r.verify()
}

// brokenReader is a reader that fails.
type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

// A blob that is not what was announced is refused, and leaves nothing.
func TestAnnouncedBlobs(t *testing.T) {
	r := newRig(t, "", configs.State{})
	first := r.put("A", "there", "text")
	other := sha256.Sum256([]byte("other"))
	for _, c := range []struct {
		start UploadStart
		kind  error
		says  string
	}{
		{UploadStart{Name: "b", Size: new(int64(5))}, ErrIncomplete, "it has 4 of the 5 bytes"},
		{UploadStart{Name: "b", Size: new(int64(3))}, ErrIncomplete, "more than the 3 bytes"},
		{UploadStart{Name: "b", Size: new(int64(-1))}, ErrInvalid, "the size of a blob can't be -1"},
		{UploadStart{Name: "b", SHA256: other[:]}, ErrIncomplete, "its SHA-256 is 982d"},
		{UploadStart{Name: "b", SHA256: other[:5]}, ErrInvalid, "a SHA-256 has 32 bytes"},
		{UploadStart{Name: "b", ContentType: "text"}, ErrInvalid, ``},
		{UploadStart{Name: "b", If: new(int64(3))}, ErrConflict, `there is no blob "b"`},
		{UploadStart{Name: "there", If: new(int64(0))}, ErrConflict, `there is a blob "there" already`},
		{UploadStart{Name: ""}, ErrInvalid, "the name of the blob is missing"},
		{UploadStart{Name: "../b"}, ErrInvalid, "like a relative path"},
		{UploadStart{Name: "a//b"}, ErrInvalid, "like a relative path"},
		{UploadStart{Name: "/b"}, ErrInvalid, "like a relative path"},
		{UploadStart{Name: "."}, ErrInvalid, "like a relative path"},
	} {
		if c.start.ContentType == "text" {
			c.start.ContentType = "text/plain/x"
		}
		_, err := r.upload(t.Context(), "A", c.start, []byte("text"))
		wantError(t, err, c.kind, c.says)
	}
	right := sha256.Sum256([]byte("text"))
	_, err := r.upload(t.Context(), "A", UploadStart{Name: "there", Size: new(int64(4)), SHA256: right[:], If: &first.Revision}, []byte("text"))
	must(t, err)
	if r.fileCount() != 1 {
		t.Errorf("there are %d files", r.fileCount())
	}
	r.verify()
}

// Of two that replace one revision, one succeeds, also if both began before either ended.
func TestUploadsOfOneRevision(t *testing.T) {
	r := newRig(t, "", configs.State{})
	b := r.put("A", "b", "first")
	start := UploadStart{Name: "b", If: &b.Revision}
	one, err := r.NewUpload(t.Context(), "A", start)
	must(t, err)
	two, err := r.NewUpload(t.Context(), "A", start)
	must(t, err)
	_, err = one.Finish(t.Context())
	must(t, err)
	_, err = two.Finish(t.Context())
	wantError(t, err, ErrConflict)
	r.verify()
}

// A quota is held while a blob arrives, and its error says what is left; the blob that is
// replaced makes room.
func TestQuotasOfBlobs(t *testing.T) {
	r := newRig(t, "", configs.State{MaxBlobs: 2, MaxBlobBytes: 1000})
	r.put("A", "a", strings.Repeat("x", 600))
	_, err := r.upload(t.Context(), "A", UploadStart{Name: "b", Size: new(int64(500))}, nil)
	wantError(t, err, ErrFull, "the state of A is full: 400 B of 1000 B are left, and this needs 500 B", "max-blob-bytes")
	_, err = r.upload(t.Context(), "A", UploadStart{Name: "b"}, make([]byte, 500))
	wantError(t, err, ErrFull, "400 B of 1000 B are left")
	one, err := r.NewUpload(t.Context(), "A", UploadStart{Name: "b"})
	must(t, err)
	_, err = one.Write(make([]byte, 300))
	must(t, err)
	_, err = r.upload(t.Context(), "A", UploadStart{Name: "c"}, make([]byte, 300))
	wantError(t, err, ErrFull) // both together are too large
	_, err = one.Finish(t.Context())
	must(t, err)
	_, err = r.upload(t.Context(), "A", UploadStart{Name: "c"}, make([]byte, 1))
	wantError(t, err, ErrFull, "0 blobs of 2 blobs are left")
	r.put("A", "a", strings.Repeat("y", 700))
	if len(r.transfers.arriving) != 0 || r.transfers.bytes != 0 {
		t.Errorf("still arriving: %v, %d", r.transfers.arriving, r.transfers.bytes)
	}
	r.verify()
}

// What is being read stays as it was when it is replaced and deleted.
func TestReadBesideReplace(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.put("A", "b", "before")
	opened, err := r.OpenBlob(t.Context(), "A", "b")
	must(t, err)
	r.put("A", "b", "after")
	_, _, err = r.DeleteBlob(t.Context(), "A", "b", nil)
	must(t, err)
	text, err := io.ReadAll(opened)
	if string(text) != "before" || err != nil {
		t.Errorf("read %q, %v", text, err)
	}
	must(t, opened.Close())
}

// Too many blobs of one owner under way are refused, and another owner is not.
func TestTooManyTransfers(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.put("A", "b", "text")
	r.put("B", "b", "text")
	var opened []*OpenedBlob
	for range maxTransfersOfOwner {
		b, err := r.OpenBlob(t.Context(), "A", "b")
		must(t, err)
		opened = append(opened, b)
	}
	_, err := r.OpenBlob(t.Context(), "A", "b")
	wantError(t, err, ErrBusy)
	_, err = r.NewUpload(t.Context(), "A", UploadStart{Name: "c"})
	wantError(t, err, ErrBusy)
	if r.text("B", "b") != "text" {
		t.Error("another owner is disturbed")
	}
	for _, b := range opened {
		must(t, b.Close())
	}
	if r.text("A", "b") != "text" || r.transfers.underWay() != 0 {
		t.Error("the places are not given back")
	}
}

// The next host removes files that no blob has and forgets blobs whose file is not whole, and
// keeps everything else.
func TestAgreement(t *testing.T) {
	r := newRig(t, "", configs.State{})
	for _, name := range []string{"kept", "missing", "short"} {
		r.put("A", name, "text of "+name)
	}
	files := make(map[string]string)
	for _, name := range []string{"kept", "missing", "short"} {
		b, err := r.Blob(t.Context(), "A", name)
		must(t, err)
		files[name] = filepath.Join(r.files.Path(), b.file)
	}
	u, err := r.NewUpload(t.Context(), "A", UploadStart{Name: "half"})
	must(t, err)
	_, err = u.Write([]byte("half"))
	must(t, err)
	must(t, os.Remove(files["missing"]))
	must(t, os.Truncate(files["short"], 3))
	_, err = r.OpenBlob(t.Context(), "A", "missing")
	wantError(t, err, ErrDamaged, `the file of the blob "missing" is gone`)
	_, err = r.OpenBlob(t.Context(), "A", "short")
	wantError(t, err, ErrDamaged, `has 3 of its 13 bytes`)

	r = r.reopened()
	r.verify()
	l, err := r.ListBlobs(t.Context(), "A", Page{})
	if len(l.All) != 1 || l.All[0].Name != "kept" || err != nil {
		t.Errorf("the blobs are %+v, %v", l, err)
	}
	if log := r.told.String(); strings.Count(log, "so the blob is lost") != 2 {
		t.Errorf("the log says %s", log)
	}
	u.end()
}

// A directory of files that is missing is not taken for lost blobs: the host says so, keeps the
// rows, and has the blobs again once the directory is back.
func TestMissingDirectory(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	r.put("A", "b", "text")
	must(t, r.store.Close())
	must(t, os.Rename(r.files.Path(), r.files.Path()+"-elsewhere"))
	must(t, os.Mkdir(r.files.Path(), 0o700)) // as where something is to be mounted

	r = newRig(t, r.root, r.quotasNow())
	_, err := r.OpenBlob(t.Context(), "A", "b")
	wantError(t, err, ErrNoFiles, "with the files of 1 blobs is missing; put it back")
	_, err = r.NewUpload(t.Context(), "A", UploadStart{Name: "c"})
	wantError(t, err, ErrNoFiles)
	if e, err := r.Get(t.Context(), "A", "k"); string(e.Value) != `1` || err != nil {
		t.Errorf("the key is %+v, %v", e, err)
	}
	must(t, os.Remove(r.files.Path()))
	must(t, os.Rename(r.files.Path()+"-elsewhere", r.files.Path()))
	r = r.reopened()
	if r.text("A", "b") != "text" {
		t.Error("the blob is another")
	}
	r.verify()
}

// If the store is lost, the files of its blobs are kept for the operator.
func TestLostStore(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.put("A", "b", "text")
	must(t, r.store.Close())
	for _, path := range append(store.FilesBeside(filepath.Join(r.root, "store.db")), filepath.Join(r.root, "store.db")) {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	r = newRig(t, r.root, r.quotasNow())
	r.verify()
	aside, err := filepath.Glob(filepath.Join(r.files.Path(), "set-aside", "*"))
	must(t, err)
	if len(aside) != 1 || !strings.Contains(r.told.String(), "the store was made anew") {
		t.Fatalf("set aside are %q, and the log says %s", aside, r.told.String())
	}
	if text, err := os.ReadFile(aside[0]); string(text) != "text" || err != nil {
		t.Errorf("it is %q, %v", text, err)
	}
	r.reopened()
	if text, err := os.ReadFile(aside[0]); string(text) != "text" || err != nil {
		t.Errorf("after one more start it is %q, %v", text, err)
	}
}

// Clear leaves neither keys nor blobs, and no revision comes again.
func TestClear(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	last := r.put("A", "b", "text").Revision
	r.set("B", "k", `1`)
	must(t, r.Clear(t.Context(), "A"))
	if has, err := r.Has(t.Context(), "A"); has || err != nil || r.fileCount() != 0 {
		t.Errorf("A has %v, %v, and there are %d files", has, err, r.fileCount())
	}
	r.verify()
	if next := r.set("A", "k", `2`); next <= last {
		t.Errorf("after revision %d the key has %d", last, next)
	}
	if has, err := r.Has(t.Context(), "B"); !has || err != nil {
		t.Errorf("B has %v, %v", has, err)
	}
	r.verify()
}

// Remove leaves nothing of an owner.
func TestRemove(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	r.put("A", "b", "text")
	r.set("B", "k", `1`)
	must(t, r.Remove(t.Context(), "A"))
	must(t, r.Remove(context.Background(), "A"))
	if has, err := r.Has(t.Context(), "A"); has || err != nil || r.fileCount() != 0 {
		t.Errorf("A has %v, %v, and there are %d files", has, err, r.fileCount())
	}
	if has, err := r.Has(t.Context(), "B"); !has || err != nil {
		t.Errorf("B has %v, %v", has, err)
	}
	r.verify()
}

// Counters that were lost with a damaged store are made anew.
func TestRecount(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	r.put("A", "b", "text")
	r.put("B", "b", "text")
	must(t, r.store.Update(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(`DELETE FROM state_owners WHERE owner = 'A'`); err != nil {
			return err
		}
		if _, err := tx.Exec(`UPDATE state_owners SET keys = 7, blob_bytes = 1`); err != nil {
			return err
		}
		return recount(tx)
	}))
	r.verify()
	if n := r.set("A", "k", `2`); n != 3 {
		t.Errorf("the next revision is %d", n)
	}
}

// The type of a blob must be a media type.
func TestTypeOfBlob(t *testing.T) {
	for text, want := range map[string]string{"": "application/octet-stream", "Text/Plain;charset=utf-8": "text/plain; charset=utf-8", "nonsense": "", "a/b/c": ""} {
		if got, err := checkedType(text); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}
