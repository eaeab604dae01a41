package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

// Media types of an artifact, and the annotations of its manifest.
const (
	artifactType    = "application/vnd.dormouse.package.v1"
	archiveTypeZstd = "application/vnd.dormouse.package.v1.tar+zstd"
	archiveTypeGzip = "application/vnd.dormouse.package.v1.tar+gzip"

	nameKey   = "org.dormouse.package.name"
	sumsKey   = "org.dormouse.package.digest"
	neverTime = "1970-01-01T00:00:00Z" // a manifest with the time would differ each time
)

// maxManifest is how many bytes a manifest may have.
const maxManifest = 1 << 20

// ErrNotAPackage means that an artifact is not a package.
var ErrNotAPackage = errors.New("the artifact is not a package")

// Label is what an artifact says of the package in it. The archive may say otherwise, and is
// right then.
type Label struct {
	Name, Version string
	// Digest is the identity of the package, that of its SHA256SUMS.
	Digest string
	// FileName is the name that other tools give the archive.
	FileName string
}

// Artifact is a package in a registry or a layout.
type Artifact struct {
	Label
	// Manifest is the digest of the manifest, "sha256:…".
	Manifest string
	// Archive is the digest of the archive, and Size its length in bytes.
	Archive string
	Size    int64

	layer ocispec.Descriptor
}

// readArtifact reads the manifest of an artifact and checks its form. The error wraps
// ErrNotAPackage for an artifact of another kind.
func readArtifact(ctx context.Context, from content.Fetcher, manifest ocispec.Descriptor) (Artifact, error) {
	if manifest.Size > maxManifest {
		return Artifact{}, fmt.Errorf("the manifest has %d bytes, at most %d are read", manifest.Size, maxManifest)
	}
	if manifest.MediaType != ocispec.MediaTypeImageManifest {
		return Artifact{}, fmt.Errorf("%w but of the type %s", ErrNotAPackage, manifest.MediaType)
	}
	raw, err := content.FetchAll(ctx, from, manifest) // it compares size and digest
	if err != nil {
		return Artifact{}, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return Artifact{}, fmt.Errorf("cannot read the manifest: %w", err)
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != archiveTypeZstd && m.Layers[0].MediaType != archiveTypeGzip {
		return Artifact{}, fmt.Errorf("%w: it has not one layer of the type %s", ErrNotAPackage, archiveTypeZstd)
	}
	layer := m.Layers[0]
	if err := layer.Digest.Validate(); err != nil || layer.Digest.Algorithm() != digest.SHA256 || layer.Size < 0 {
		return Artifact{}, fmt.Errorf("%w: its layer has the digest %q and %d bytes", ErrNotAPackage, layer.Digest, layer.Size)
	}
	return Artifact{
		Label: Label{
			Name: m.Annotations[nameKey], Version: m.Annotations[ocispec.AnnotationVersion], Digest: m.Annotations[sumsKey],
			FileName: layer.Annotations[ocispec.AnnotationTitle],
		},
		Manifest: manifest.Digest.String(), Archive: layer.Digest.String(), Size: layer.Size, layer: layer,
	}, nil
}

// archive is an archive that is to be written into a registry or a layout.
type archive struct {
	io.ReadSeeker
	layer ocispec.Descriptor
}

// describeArchive reads the archive once and returns what the manifest says of it.
func describeArchive(from io.ReadSeeker, l Label) (archive, error) {
	magic := make([]byte, 2)
	if _, err := io.ReadFull(from, magic); err != nil {
		return archive{}, fmt.Errorf("cannot read the archive: %w", err)
	}
	mediaType := archiveTypeZstd
	if magic[0] == 0x1f && magic[1] == 0x8b { // RFC 1952, 2.3.1
		mediaType = archiveTypeGzip
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return archive{}, err
	}
	hash := digest.SHA256.Digester()
	size, err := io.Copy(hash.Hash(), from)
	if err != nil {
		return archive{}, fmt.Errorf("cannot read the archive: %w", err)
	}
	return archive{from, ocispec.Descriptor{
		MediaType: mediaType, Digest: hash.Digest(), Size: size,
		Annotations: map[string]string{ocispec.AnnotationTitle: l.FileName},
	}}, nil
}

// target is where artifacts are written.
type target interface {
	content.Storage
	content.Tagger
}

// pushArtifact writes the archive, if it is not there yet, and its manifest, and gives that the
// tags. The same archive and label make the same manifest.
func pushArtifact(ctx context.Context, into target, from io.ReadSeeker, l Label, progress Progress, tags ...string) (Artifact, error) {
	a, err := describeArchive(from, l)
	if err != nil {
		return Artifact{}, err
	}
	there, err := into.Exists(ctx, a.layer)
	if err != nil {
		return Artifact{}, err
	}
	if !there {
		if _, err := a.Seek(0, io.SeekStart); err != nil {
			return Artifact{}, err
		}
		if err := into.Push(ctx, a.layer, progress.reader(a, a.layer.Size)); err != nil && !isAlreadyThere(err) {
			return Artifact{}, err
		}
	}
	manifest, err := oras.PackManifest(ctx, into, oras.PackManifestVersion1_1, artifactType, oras.PackManifestOptions{
		Layers: []ocispec.Descriptor{a.layer},
		ManifestAnnotations: map[string]string{
			nameKey: l.Name, ocispec.AnnotationVersion: l.Version, sumsKey: l.Digest, ocispec.AnnotationTitle: l.Name,
			ocispec.AnnotationCreated: neverTime,
		},
	})
	if err != nil {
		return Artifact{}, err
	}
	for _, tag := range tags {
		if err := into.Tag(ctx, manifest, tag); err != nil {
			return Artifact{}, err
		}
	}
	return Artifact{Label: l, Manifest: manifest.Digest.String(), Archive: a.layer.Digest.String(), Size: a.layer.Size, layer: a.layer}, nil
}

// TagOf returns the tag of a package's version: OCI allows no "+" in a tag.
func TagOf(version string) string { return strings.ReplaceAll(version, "+", "_") }

// VersionOf returns the version that a tag stands for.
func VersionOf(tag string) string { return strings.ReplaceAll(tag, "_", "+") }

// Progress is told how many bytes of how many are done. It may be nil.
type Progress func(done, total int64)

// reader returns a reader of from that reports how far it has come.
func (p Progress) reader(from io.Reader, total int64) io.Reader {
	if p == nil {
		return from
	}
	return &progressReader{from: from, progress: p, total: total}
}

type progressReader struct {
	from        io.Reader
	progress    Progress
	done, total int64
}

func (r *progressReader) Read(into []byte) (int, error) {
	n, err := r.from.Read(into)
	r.done += int64(n)
	r.progress(r.done, r.total)
	return n, err
}
