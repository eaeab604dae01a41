package oci

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeRegistry is a registry in the test's process. A test changes its answers by before and
// body.
type fakeRegistry struct {
	server *httptest.Server

	mu        sync.Mutex
	blobs     map[string][]byte // by digest
	manifests map[string][]byte // by digest and tag
	requests  []string          // methods, paths and ranges
	// before may answer a request itself; it returns whether it did.
	before func(w http.ResponseWriter, r *http.Request) bool
	// body may replace the bytes of a blob.
	body func(whole []byte) []byte
}

// newRegistry starts an empty registry on a loopback address.
func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{blobs: make(map[string][]byte), manifests: make(map[string][]byte)}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// host returns the registry's name in a reference.
func (f *fakeRegistry) host() string { return strings.TrimPrefix(f.server.URL, "http://") }

// reference returns the reference of a tag in the repository "apps/clock".
func (f *fakeRegistry) reference(tag string) Reference {
	return Reference{Host: f.host(), Repository: "apps/clock", Tag: tag}
}

// client returns a client that reaches the registry.
func (f *fakeRegistry) client(t *testing.T, o Options) *Client {
	t.Helper()
	o.PlainHTTP = append(o.PlainHTTP, f.host())
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// ServeHTTP serves the part of the OCI distribution specification that a client of packages
// needs.
func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	before := f.before
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v2/apps/clock/")
	kind, name, _ := strings.Cut(path, "/")
	switch {
	case kind == "tags":
		tags := make([]string, 0)
		for name := range f.manifests {
			if !strings.HasPrefix(name, "sha256:") {
				tags = append(tags, name)
			}
		}
		slices.Sort(tags)
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "apps/clock", "tags": tags})
	case kind == "blobs" && r.Method == http.MethodPost:
		w.Header().Set("Location", "/v2/apps/clock/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case kind == "blobs" && r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		f.blobs[r.URL.Query().Get("digest")] = body
		w.WriteHeader(http.StatusCreated)
	case kind == "blobs":
		whole, ok := f.blobs[name]
		if !ok {
			refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
			return
		}
		if f.body != nil {
			whole = f.body(whole)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(whole))
	case kind == "manifests" && r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		f.manifests[name], f.manifests[digestOf(body)] = body, body
		w.Header().Set("Docker-Content-Digest", digestOf(body))
		w.WriteHeader(http.StatusCreated)
	case kind == "manifests":
		body, ok := f.manifests[name]
		if !ok {
			refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
			return
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w.Header().Set("Docker-Content-Digest", digestOf(body))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	default:
		refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
	}
}

// refuse answers with an error in the form of the specification.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
}

// asked returns the requests so far that have the text, and forgets all.
func (f *fakeRegistry) asked(text string) (found []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.requests {
		if strings.Contains(r, text) {
			found = append(found, r)
		}
	}
	f.requests = nil
	return found
}
