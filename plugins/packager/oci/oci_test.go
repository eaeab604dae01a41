package oci

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dormouse/plugins/packager/oci/ocitest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// An archive of a package, by its first bytes compressed with gzip.
var clock = append([]byte{0x1f, 0x8b}, bytes.Repeat([]byte("tick tock "), 100_000)...)

var clockLabel = Label{Name: "clock", Version: "1.2.3+4", Digest: "sha256:" + strings.Repeat("a", 64), FileName: "clock-1.2.3+4.tar.gz"}

// push puts the clock into the registry and returns it.
func (f *fakeRegistry) push(t *testing.T, c *Client) Artifact {
	t.Helper()
	a, err := c.Push(t.Context(), f.reference(TagOf(clockLabel.Version)), bytes.NewReader(clock), clockLabel, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newFile returns an open file with those bytes.
func newFile(t *testing.T, contents []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, contents, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

// contents returns the bytes of a file.
func contents(t *testing.T, file *os.File) []byte {
	t.Helper()
	raw, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestParseReference(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0a", 32)
	for text, want := range map[string]Reference{
		"oci://r.example.com/apps/clock:1.2":         {Host: "r.example.com", Repository: "apps/clock", Tag: "1.2"},
		"oci://localhost:5000/clock":                 {Host: "localhost:5000", Repository: "clock"},
		"oci://localhost:5000/clock:1.2":             {Host: "localhost:5000", Repository: "clock", Tag: "1.2"},
		"oci://r.example.com/clock@" + digest:        {Host: "r.example.com", Repository: "clock", Digest: digest},
		"oci://r.example.com/apps/clock:2@" + digest: {Host: "r.example.com", Repository: "apps/clock", Tag: "2", Digest: digest},
	} {
		got, err := ParseReference(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %q, %v", text, got, got, err)
		}
	}
	for _, text := range []string{
		"", "clock", "oci://", "oci://host", "oci://host/", "oci://host/Clock:1", "oci://host/clock:", "oci://host/clock:a b", "oci://host/clock@sha256:0",
		"oci://host/clock@md5:" + strings.Repeat("0", 32), "http://host/clock:1", "oci://host/clock@", "oci://host/../clock:1", "oci://me:s3cret@host/clock:1",
	} {
		if got, err := ParseReference(text); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

// What is pushed can be resolved by tag and by digest, and downloaded with progress.
func TestPushAndDownload(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	pushed := f.push(t, c)
	for _, r := range []Reference{f.reference("1.2.3_4"), {Host: f.Host(), Repository: "apps/clock", Digest: pushed.Manifest}} {
		found, err := c.Resolve(t.Context(), r)
		if err != nil || cmp.Diff(pushed, found, cmpopts.IgnoreUnexported(Artifact{})) != "" {
			t.Fatalf("%s: %+v, %v", r, found, err)
		}
		file := newFile(t, nil)
		var last, total int64
		err = c.Download(t.Context(), r, found, file, func(done, all int64) { last, total = done, all })
		if err != nil || !bytes.Equal(contents(t, file), clock) || last != total || total != int64(len(clock)) {
			t.Errorf("%s: %d of %d, %v", r, last, total, err)
		}
	}
	tags, err := c.Tags(t.Context(), f.reference(""))
	if err != nil || !slices.Equal(tags, []string{"1.2.3_4"}) {
		t.Errorf("tags: %q, %v", tags, err)
	}
	f.Asked("")
	if again := f.push(t, c); again.Manifest != pushed.Manifest || len(f.Asked("PUT /v2/apps/clock/blobs")) != 0 {
		t.Error("the same archive was pushed again, or as another artifact")
	}
}

// A download goes on where an earlier one ended, also within one call, and asks for no more.
func TestDownloadGoesOn(t *testing.T) {
	f := newRegistry(t)
	c := f.client(t, Options{})
	a := f.push(t, c)
	r := f.reference("1.2.3_4")
	t.Run("in a file with a beginning", func(t *testing.T) {
		file := newFile(t, clock[:700_000])
		f.Asked("")
		if err := c.Download(t.Context(), r, a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
			t.Fatal(err)
		}
		if asked := f.Asked("bytes=700000-"); len(asked) != 1 {
			t.Errorf("%q", asked)
		}
	})
	t.Run("in a whole file", func(t *testing.T) {
		f.Asked("")
		if err := c.Download(t.Context(), r, a, newFile(t, clock), nil); err != nil || len(f.Asked("blobs")) != 0 {
			t.Error(err)
		}
	})
	t.Run("in a file that is too long", func(t *testing.T) {
		file := newFile(t, append(slices.Clone(clock), "more"...))
		if err := c.Download(t.Context(), r, a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
			t.Error(err)
		}
	})
	t.Run("after the registry has broken off", func(t *testing.T) {
		left := 3
		f.Before(func(w http.ResponseWriter, r *http.Request) bool {
			if left == 0 || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			left--
			w.Header().Set("Accept-Ranges", "bytes")
			start := 0
			if r.Header.Get("Range") != "" {
				return false
			}
			w.Header().Set("Content-Length", "1000002")
			_, _ = w.Write(clock[start : start+100_000])
			panic(http.ErrAbortHandler)
		})
		defer func() { f.Before(nil) }()
		file := newFile(t, nil)
		if err := c.Download(t.Context(), r, a, file, nil); err != nil || !bytes.Equal(contents(t, file), clock) {
			t.Error(err)
		}
	})
}

// Each lie of a registry is an error with its cause, and no wrong byte is kept for the next
// download.
func TestLies(t *testing.T) {
	for _, test := range []struct {
		name    string
		body    func([]byte) []byte
		present []byte
		want    string
		left    int // bytes in the file afterwards
	}{
		{"a changed byte", func(b []byte) []byte { b = slices.Clone(b); b[500] ^= 1; return b }, nil, "other bytes", 0},
		{"a shorter archive", func(b []byte) []byte { return b[:1000] }, nil, "Content-Length", 0},
		{"a longer archive", func(b []byte) []byte { return append(slices.Clone(b), 'x') }, nil, "Content-Length", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newRegistry(t)
			c := f.client(t, Options{})
			a := f.push(t, c)
			f.Body(test.body)
			file := newFile(t, test.present)
			err := c.Download(t.Context(), f.reference("1"), a, file, nil)
			if err == nil || !strings.Contains(err.Error(), test.want) || len(contents(t, file)) != test.left {
				t.Errorf("%v; %d bytes are left", err, len(contents(t, file)))
			}
		})
	}
}

// A refusal says what the operator can do.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		status int
		is     error
		want   string
	}{
		{http.StatusUnauthorized, ErrNotAllowed, "put a login for "},
		{http.StatusForbidden, ErrNotAllowed, "put a login for "},
		{http.StatusNotFound, ErrNotFound, "look at the name and the tag"},
		{http.StatusTeapot, nil, "the registry refuses (418)"},
	} {
		f := newRegistry(t)
		f.Before(func(w http.ResponseWriter, _ *http.Request) bool {
			ocitest.Refuse(w, test.status, "NO")
			return true
		})
		_, err := f.client(t, Options{}).Resolve(t.Context(), f.reference("1"))
		if err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%d: %v", test.status, err)
		}
	}
	t.Run("nothing is there", func(t *testing.T) {
		f := newRegistry(t)
		f.Close()
		if _, err := f.client(t, Options{}).Resolve(t.Context(), f.reference("1")); !errors.Is(err, ErrUnreachable) {
			t.Error(err)
		}
	})
	t.Run("plain HTTP that is not allowed", func(t *testing.T) {
		f := newRegistry(t)
		c, err := NewClient(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Resolve(t.Context(), f.reference("1")); err == nil || !strings.Contains(err.Error(), "plain-http") {
			t.Error(err)
		}
	})
}

// A layout keeps what was added over a restart, and nothing that was removed.
func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "database")
	l, err := OpenLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	added, err := l.Add(t.Context(), bytes.NewReader(clock), clockLabel, "clock")
	if err != nil {
		t.Fatal(err)
	}
	if l, err = OpenLayout(dir); err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{"", "clock", added.Manifest} {
		found, err := l.Resolve(t.Context(), wanted)
		if err != nil || cmp.Diff(added, found, cmpopts.IgnoreUnexported(Artifact{})) != "" {
			t.Fatalf("%q: %+v, %v", wanted, found, err)
		}
		body, err := l.Open(t.Context(), found)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(body)
		_ = body.Close()
		if err != nil || !bytes.Equal(whole, clock) {
			t.Errorf("%q: %d bytes, %v", wanted, len(whole), err)
		}
	}
	if _, wanted, is := SplitLayout(dir + ":clock"); !is || wanted != "clock" {
		t.Error("the layout is not known by its path")
	}
	if err := l.Remove(t.Context(), "clock", "never"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Resolve(t.Context(), "clock"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256")); err != nil || len(left) != 0 {
		t.Errorf("%d blobs are left, %v", len(left), err)
	}
}
