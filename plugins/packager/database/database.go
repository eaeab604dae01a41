// Package database keeps the archives of packages in an OCI image layout, so that skopeo and
// oras can read it. An archive is whole in it or not in it at all. The package does not know
// what is in an archive.
package database

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// Media types of the layout.
const (
	// ArtifactType is the type of the artifact that a package is.
	ArtifactType = "application/vnd.dormouse.package.v1"
	// ZstdLayer and GzipLayer are the types of an archive, by its compression.
	ZstdLayer = "application/vnd.dormouse.package.v1.tar+zstd"
	GzipLayer = "application/vnd.dormouse.package.v1.tar+gzip"

	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	emptyType    = "application/vnd.oci.empty.v1+json"
)

// Keys of the annotations in the layout.
const (
	tagKey     = "org.opencontainers.image.ref.name"
	titleKey   = "org.opencontainers.image.title"
	versionKey = "org.opencontainers.image.version"
	nameKey    = "org.dormouse.package.name"
	digestKey  = "org.dormouse.package.digest"
)

const (
	layoutName = "oci-layout"
	indexName  = "index.json"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	emptyText  = `{}`
)

// Entry is one archive in the database.
type Entry struct {
	Name, Version string
	// Digest is that of the package, not of the archive.
	Digest string
	// Blob is the digest of the archive's bytes, Size their number.
	Blob string
	Size int64
	Gzip bool
}

// descriptor, index and manifest are as the OCI image specification has them.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Database is one layout. Any goroutine may use it, of one process.
type Database struct {
	dir string
	mu  sync.Mutex // guards the index
}

// At returns the layout in dir, which need not exist yet.
func At(dir string) *Database { return &Database{dir: dir} }

// IsThere reports whether the layout was made and is there.
func (d *Database) IsThere() bool {
	_, err := os.Lstat(filepath.Join(d.dir, layoutName))
	return err == nil && ownedtree.IsMarked(d.dir)
}

// Claim makes the layout, as far as it is missing, and marks its directory.
func (d *Database) Claim() error {
	if d.IsThere() {
		return nil
	}
	if err := d.Make(); err != nil {
		return err
	}
	return ownedtree.Mark(d.dir)
}

// Make makes the layout, as far as it is missing, and does not mark its directory: a host that
// has lost a database can work on, and the next one still sees that it was lost.
func (d *Database) Make() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := os.Lstat(filepath.Join(d.dir, layoutName)); err == nil {
		return nil
	}
	err := os.MkdirAll(d.blobDir(), 0o700)
	if err == nil {
		err = d.writeBlob([]byte(emptyText))
	}
	if err == nil {
		_, err = os.Lstat(filepath.Join(d.dir, indexName))
		if errors.Is(err, fs.ErrNotExist) {
			err = d.writeIndex(index{})
		}
	}
	if err == nil {
		err = atomicfile.Write(filepath.Join(d.dir, layoutName), []byte(layoutText), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot make the database of packages: %w", err)
	}
	return nil
}

// Entries returns what is in the database. Artifacts that others put there and that are no
// packages are left out.
func (d *Database) Entries() ([]Entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.readIndex()
	if err != nil {
		return nil, err
	}
	var all []Entry
	for _, m := range i.Manifests {
		if e, ok := d.entryOf(m); ok {
			all = append(all, e)
		}
	}
	return all, nil
}

// entryOf reads the manifest of a package, false if it is none or can't be read.
func (d *Database) entryOf(m descriptor) (Entry, bool) {
	if m.Annotations[digestKey] == "" {
		return Entry{}, false
	}
	raw, err := os.ReadFile(d.blobPath(m.Digest))
	var read manifest
	if err != nil || json.Unmarshal(raw, &read) != nil || len(read.Layers) != 1 {
		return Entry{}, false
	}
	layer := read.Layers[0]
	return Entry{
		Name: read.Annotations[nameKey], Version: read.Annotations[versionKey], Digest: read.Annotations[digestKey],
		Blob: layer.Digest, Size: layer.Size, Gzip: layer.MediaType == GzipLayer,
	}, true
}

// Find returns the entry of the package with that digest, and the path of its archive. It
// is not found either if the archive is missing or has another size.
func (d *Database) Find(digest string) (e Entry, path string, found bool, err error) {
	all, err := d.Entries()
	if err != nil {
		return Entry{}, "", false, err
	}
	for _, e := range all {
		if e.Digest != digest {
			continue
		}
		return e, d.blobPath(e.Blob), d.HasArchive(e), nil
	}
	return Entry{}, "", false, nil
}

// HasArchive reports whether the archive of an entry is there and has the size that it had.
func (d *Database) HasArchive(e Entry) bool {
	info, err := os.Stat(d.blobPath(e.Blob))
	return err == nil && info.Size() == e.Size
}

// Add moves the archive at path, whose contents are on disk, into the database. Blob and Size
// of e are those of the file. An entry of the same package is replaced; one with the same
// name and version but other contents stays without its tag.
func (d *Database) Add(path string, e Entry) error {
	layer := ZstdLayer
	if e.Gzip {
		layer = GzipLayer
	}
	m := manifest{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: ArtifactType,
		Config: descriptor{MediaType: emptyType, Digest: digestOf([]byte(emptyText)), Size: int64(len(emptyText))},
		Layers: []descriptor{{
			MediaType: layer, Digest: e.Blob, Size: e.Size,
			Annotations: map[string]string{titleKey: FileName(e)},
		}},
		Annotations: map[string]string{nameKey: e.Name, versionKey: e.Version, digestKey: e.Digest},
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.Rename(path, d.blobPath(e.Blob)); err != nil {
		return fmt.Errorf("cannot add %s to the database: %w", e.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.writeBlob(raw); err != nil {
		return fmt.Errorf("cannot add %s to the database: %w", e.Name, err)
	}
	i, err := d.readIndex()
	if err != nil {
		return err
	}
	var replaced []descriptor
	i.Manifests = slices.DeleteFunc(i.Manifests, func(m descriptor) bool {
		if m.Annotations[digestKey] != e.Digest {
			return false
		}
		replaced = append(replaced, m)
		return true
	})
	for _, other := range i.Manifests {
		if other.Annotations[tagKey] == tagOf(e) {
			delete(other.Annotations, tagKey)
		}
	}
	i.Manifests = append(i.Manifests, descriptor{
		MediaType: manifestType, ArtifactType: ArtifactType, Digest: digestOf(raw), Size: int64(len(raw)),
		Annotations: map[string]string{tagKey: tagOf(e), digestKey: e.Digest},
	})
	if err := d.writeIndex(i); err != nil {
		return err
	}
	return d.removeReplaced(replaced, digestOf(raw), e.Blob)
}

// removeReplaced removes the manifests and archives of entries that were replaced, except for the
// present ones. The caller holds the lock.
func (d *Database) removeReplaced(replaced []descriptor, manifest, archive string) error {
	var errs []error
	for _, m := range replaced {
		if old, readable := d.entryOf(m); readable && old.Blob != archive {
			errs = append(errs, ownedtree.Remove(d.blobPath(old.Blob)))
		}
		if m.Digest != manifest {
			errs = append(errs, ownedtree.Remove(d.blobPath(m.Digest)))
		}
	}
	return errors.Join(errs...)
}

// Remove takes the package with that digest out of the database. take is called with its archive
// and moves or removes it. It does nothing if there is no such package.
func (d *Database) Remove(digest string, take func(path string) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, err := d.readIndex()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(i.Manifests, func(m descriptor) bool { return m.Annotations[digestKey] == digest })
	if at < 0 {
		return nil
	}
	gone := i.Manifests[at]
	e, readable := d.entryOf(gone)
	i.Manifests = slices.Delete(i.Manifests, at, at+1)
	if err := d.writeIndex(i); err != nil {
		return err
	}
	if err := ownedtree.Remove(d.blobPath(gone.Digest)); err != nil || !readable {
		return err
	}
	if err := take(d.blobPath(e.Blob)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// IsDamaged reports whether err says that the index can't be read as one.
func IsDamaged(err error) bool { return errors.Is(err, errDamaged) }

var errDamaged = errors.New("the index is damaged")

// readIndex returns the index. The caller holds the lock.
func (d *Database) readIndex() (i index, err error) {
	raw, err := os.ReadFile(filepath.Join(d.dir, indexName))
	if err != nil {
		return i, fmt.Errorf("cannot read the database of packages: %w", err)
	}
	if err := json.Unmarshal(raw, &i); err != nil {
		return i, fmt.Errorf("cannot read %s: %w: %w", filepath.Join(d.dir, indexName), errDamaged, err)
	}
	return i, nil
}

// writeIndex replaces the index durably. The caller holds the lock, or is alone.
func (d *Database) writeIndex(i index) error {
	i.SchemaVersion, i.MediaType = 2, indexType
	if i.Manifests == nil {
		i.Manifests = []descriptor{}
	}
	raw, err := json.Marshal(i)
	if err == nil {
		err = atomicfile.Write(filepath.Join(d.dir, indexName), raw, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot write the database of packages: %w", err)
	}
	return nil
}

// writeBlob writes a small blob durably.
func (d *Database) writeBlob(raw []byte) error {
	return atomicfile.Write(d.blobPath(digestOf(raw)), raw, 0o600)
}

func (d *Database) blobDir() string { return filepath.Join(d.dir, "blobs", "sha256") }

func (d *Database) blobPath(digest string) string {
	return filepath.Join(d.blobDir(), filepath.Base(strings.TrimPrefix(digest, "sha256:")))
}

// tagOf returns the tag of an entry: name and version, with what a tag may not hold replaced.
func tagOf(e Entry) string { return strings.ReplaceAll(e.Name+"-"+e.Version, "+", "_") }

// FileName returns the name that the archive of an entry has outside of the database.
func FileName(e Entry) string {
	if e.Gzip {
		return e.Name + "-" + e.Version + ".tar.gz"
	}
	return e.Name + "-" + e.Version + ".tar.zst"
}

func digestOf(raw []byte) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Digest returns the digest and the size of what r holds.
func Digest(r io.Reader) (digest string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), size, err
}
