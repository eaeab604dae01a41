package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	store "oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"
)

// Layout is a directory with artifacts, in the form of an OCI image layout. Any goroutine may
// use it, but no other process may change it meanwhile.
type Layout struct {
	dir   string
	store *store.Store
}

// OpenLayout opens the layout in dir, or makes it.
func OpenLayout(dir string) (*Layout, error) {
	opened, err := store.New(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the layout %s: %w", dir, err)
	}
	return &Layout{dir: dir, store: opened}, nil
}

// Resolve returns the artifact with that tag or digest of a manifest; with "" the only one
// that the layout has. The error wraps ErrNotFound or ErrNotAPackage.
func (l *Layout) Resolve(ctx context.Context, wanted string) (Artifact, error) {
	if wanted == "" {
		tags, err := l.Tags(ctx)
		if err != nil {
			return Artifact{}, err
		}
		if len(tags) != 1 {
			return Artifact{}, fmt.Errorf("cannot choose from the layout %s: it has %d artifacts with a tag; write the tag behind it, %s:TAG", l.dir, len(tags), l.dir)
		}
		wanted = tags[0]
	}
	manifest, err := l.store.Resolve(ctx, wanted)
	if errors.Is(err, errdef.ErrNotFound) {
		return Artifact{}, fmt.Errorf("cannot find %s in the layout %s: %w", wanted, l.dir, ErrNotFound)
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("cannot find %s in the layout %s: %w", wanted, l.dir, err)
	}
	a, err := readArtifact(ctx, l.store, ocispec.Descriptor{MediaType: manifest.MediaType, Digest: manifest.Digest, Size: manifest.Size})
	if err != nil {
		return Artifact{}, fmt.Errorf("cannot read %s in the layout %s: %w", wanted, l.dir, err)
	}
	return a, nil
}

// Open returns the bytes of the artifact's archive. They are not verified.
func (l *Layout) Open(ctx context.Context, a Artifact) (io.ReadCloser, error) {
	body, err := l.store.Fetch(ctx, a.layer)
	if err != nil {
		return nil, fmt.Errorf("cannot read the archive of %s in the layout %s: %w", a.Name, l.dir, err)
	}
	return body, nil
}

// Add writes an archive into the layout, under the tags. It is on disk when Add returns.
func (l *Layout) Add(ctx context.Context, from io.ReadSeeker, label Label, tags ...string) (Artifact, error) {
	a, err := pushArtifact(ctx, l.store, from, label, nil, tags...)
	if err == nil {
		err = syncFileSystem(l.dir)
	}
	if err != nil {
		return Artifact{}, fmt.Errorf("cannot add %s to the layout %s: %w", label.Name, l.dir, err)
	}
	return a, nil
}

// Remove takes the tags away, and the artifacts that then have none. A tag that is not there
// is no error.
func (l *Layout) Remove(ctx context.Context, tags ...string) error {
	for _, tag := range tags {
		if err := l.store.Untag(ctx, tag); err != nil && !errors.Is(err, errdef.ErrNotFound) {
			return fmt.Errorf("cannot remove %s from the layout %s: %w", tag, l.dir, err)
		}
	}
	if err := l.store.GC(ctx); err != nil {
		return fmt.Errorf("cannot clean the layout %s: %w", l.dir, err)
	}
	return nil
}

// Tags returns all tags, sorted.
func (l *Layout) Tags(ctx context.Context) (all []string, err error) {
	err = l.store.Tags(ctx, "", func(tags []string) error {
		all = append(all, tags...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the layout %s: %w", l.dir, err)
	}
	slices.Sort(all)
	return all, nil
}

// syncFileSystem writes what is in memory of the file system of dir to the disk.
func syncFileSystem(dir string) error {
	file, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return syncfs(file)
}
