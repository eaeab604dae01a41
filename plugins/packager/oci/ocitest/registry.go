// Package ocitest has registries for tests: one in the test's process that a test can make
// lie, and Debian's. It does not know what is kept in them.
package ocitest

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

// Registry is a registry in the test's process.
type Registry struct {
	server *httptest.Server

	mu        sync.Mutex
	blobs     map[string][]byte            // by digest
	manifests map[string]map[string][]byte // by repository, then by digest and tag
	requests  []string                     // methods, paths and ranges
	before    func(w http.ResponseWriter, r *http.Request) bool
	body      func(whole []byte) []byte
}

// New starts an empty registry on a loopback address.
func New(t *testing.T) *Registry {
	t.Helper()
	f := &Registry{blobs: make(map[string][]byte), manifests: make(map[string]map[string][]byte)}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// Close ends the registry.
func (f *Registry) Close() {
	f.server.CloseClientConnections()
	f.server.Close()
}

// Host returns the registry's name in a reference.
func (f *Registry) Host() string { return strings.TrimPrefix(f.server.URL, "http://") }

// Before lets answer look at each request first; it returns whether it has answered. Nil ends
// that.
func (f *Registry) Before(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = answer
}

// Body lets change replace the bytes of each blob that is sent.
func (f *Registry) Body(change func(whole []byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.body = change
}

// Manifest replaces what a repository has under a tag.
func (f *Registry) Manifest(repository, tag string, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putManifest(repository, tag, raw)
	f.putManifest(repository, DigestOf(raw), raw)
}

func (f *Registry) putManifest(repository, name string, raw []byte) {
	if f.manifests[repository] == nil {
		f.manifests[repository] = make(map[string][]byte)
	}
	f.manifests[repository][name] = raw
}

// Tag returns the manifest under a tag, nil for none.
func (f *Registry) Tag(repository, name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.manifests[repository][name]
}

// Blob returns the blob that the path of a request names.
func (f *Registry) Blob(path string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, _, name := split(path)
	return f.blobs[name]
}

// Asked returns the requests so far that have the text, and forgets all.
func (f *Registry) Asked(text string) (found []string) {
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

// DigestOf returns the digest of bytes.
func DigestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Refuse answers with an error in the form of the specification.
func Refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"no"}]}`, code)
}

// split returns the repository, the kind and the name in the path of a request.
func split(path string) (repository, kind, name string) {
	path = strings.TrimPrefix(path, "/v2/")
	for _, kind := range []string{"blobs", "manifests", "tags"} {
		if i := strings.LastIndex(path, "/"+kind+"/"); i > 0 {
			return path[:i], kind, path[i+len(kind)+2:]
		}
	}
	return path, "", ""
}

// ServeHTTP serves the part of the OCI distribution specification that a client of packages
// needs.
func (f *Registry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Range")))
	before := f.before
	f.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	repository, kind, name := split(r.URL.Path)
	switch {
	case kind == "tags":
		f.serveTags(w, repository)
	case kind == "blobs" && r.Method == http.MethodPost:
		w.Header().Set("Location", "/v2/"+repository+"/blobs/uploads/1")
		w.WriteHeader(http.StatusAccepted)
	case kind == "blobs" && r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.blobs[r.URL.Query().Get("digest")] = body
		f.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	case kind == "blobs":
		f.serveBlob(w, r)
	case kind == "manifests":
		f.serveManifest(w, r, repository, name)
	default:
		Refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
	}
}

func (f *Registry) serveTags(w http.ResponseWriter, repository string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.manifests[repository] == nil {
		Refuse(w, http.StatusNotFound, "NAME_UNKNOWN")
		return
	}
	tags := make([]string, 0)
	for name := range f.manifests[repository] {
		if !strings.HasPrefix(name, "sha256:") {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	_ = json.NewEncoder(w).Encode(map[string]any{"name": repository, "tags": tags})
}

func (f *Registry) serveBlob(w http.ResponseWriter, r *http.Request) {
	whole := f.Blob(r.URL.Path)
	if whole == nil {
		Refuse(w, http.StatusNotFound, "BLOB_UNKNOWN")
		return
	}
	f.mu.Lock()
	change := f.body
	f.mu.Unlock()
	if change != nil {
		whole = change(whole)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(whole))
}

func (f *Registry) serveManifest(w http.ResponseWriter, r *http.Request, repository, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Method == http.MethodPut {
		body, _ := io.ReadAll(r.Body)
		f.putManifest(repository, name, body)
		f.putManifest(repository, DigestOf(body), body)
		w.Header().Set("Docker-Content-Digest", DigestOf(body))
		w.WriteHeader(http.StatusCreated)
		return
	}
	body, ok := f.manifests[repository][name]
	if !ok {
		Refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	var head struct{ MediaType string }
	_ = json.Unmarshal(body, &head)
	if head.MediaType == "" {
		head.MediaType = "application/vnd.oci.image.manifest.v1+json"
	}
	w.Header().Set("Content-Type", head.MediaType)
	w.Header().Set("Docker-Content-Digest", DigestOf(body))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
