package oci

import (
	"context"
	"encoding/json"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

// note is an artifact without an archive: what it says stands in its annotations. Under its tag
// a later note replaces it.
type note struct {
	tag, kind   string
	annotations map[string]string
}

// putNote writes a note into a repository.
func (c *Client) putNote(ctx context.Context, r Reference, n note) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.answers, errSlow)
	defer cancel()
	repository := c.repository(r)
	manifest, err := oras.PackManifest(ctx, repository, oras.PackManifestVersion1_1, n.kind, oras.PackManifestOptions{ManifestAnnotations: n.annotations})
	if err == nil {
		err = repository.Tag(ctx, manifest, n.tag)
	}
	return causeOf(ctx, err)
}

// getNote returns the annotations of the note of that kind under a tag.
func (c *Client) getNote(ctx context.Context, r Reference, tag, kind string) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.answers, errSlow)
	defer cancel()
	repository := c.repository(r)
	manifest, err := repository.Resolve(ctx, tag)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if manifest.Size > maxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, at most %d are read", manifest.Size, maxManifest)
	}
	raw, err := content.FetchAll(ctx, repository, manifest)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("cannot read the manifest: %w", err)
	}
	if m.ArtifactType != kind {
		return nil, fmt.Errorf("the artifact under the tag %s is of the type %q and not %s", tag, m.ArtifactType, kind)
	}
	return m.Annotations, nil
}
