package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
)

// A wish is an artifact without an archive, whose tag begins with wishTag.
const (
	wishType         = "application/vnd.dormouse.wish.v1"
	wishTag          = "want-"
	wishReferenceKey = "org.dormouse.wish.reference"
	wishNameKey      = "org.dormouse.wish.package"
)

// Wish says which package of a name many machines are to have.
type Wish struct {
	Package string
	// Reference names the artifact by its digest.
	Reference Reference
	// Published is when the wish was published, by the publisher's clock.
	Published time.Time
}

// PublishWish writes a wish into the repository central. It replaces the earlier wish for that
// package and no other.
func (c *Client) PublishWish(ctx context.Context, central Reference, w Wish) error {
	if w.Reference.Digest == "" {
		return fmt.Errorf("cannot publish the wish for %s: the reference %s has no digest", w.Package, w.Reference)
	}
	repository := c.repository(central)
	manifest, err := oras.PackManifest(ctx, repository, oras.PackManifestVersion1_1, wishType, oras.PackManifestOptions{
		ManifestAnnotations: map[string]string{
			wishNameKey: w.Package, wishReferenceKey: w.Reference.String(),
			ocispec.AnnotationCreated: w.Published.UTC().Format(time.RFC3339Nano),
		},
	})
	if err == nil {
		err = repository.Tag(ctx, manifest, wishTag+w.Package)
	}
	return explain("publish the wish for "+w.Package+" in", central, err)
}

// Wishes returns the wishes in the repository central, by package. A wish that can't be read
// is left out, and named in the error beside the others. With another error there are none.
func (c *Client) Wishes(ctx context.Context, central Reference) (map[string]Wish, error) {
	tags, err := c.Tags(ctx, central)
	if err != nil {
		return nil, err
	}
	wishes := make(map[string]Wish)
	var unreadable error
	for _, tag := range tags {
		name, is := strings.CutPrefix(tag, wishTag)
		if !is {
			continue
		}
		w, err := c.wish(ctx, central, name)
		if errors.Is(err, ErrUnreachable) || errors.Is(err, ErrNotAllowed) || ctx.Err() != nil {
			return nil, err
		}
		if err != nil {
			unreadable = errors.Join(unreadable, err)
			continue
		}
		wishes[name] = w
	}
	return wishes, unreadable
}

// wish returns the present wish for that package.
func (c *Client) wish(ctx context.Context, central Reference, name string) (Wish, error) {
	repository := c.repository(central)
	manifest, err := repository.Resolve(ctx, wishTag+name)
	var raw []byte
	if err == nil && manifest.Size <= maxManifest {
		raw, err = content.FetchAll(ctx, repository, manifest)
	}
	if err != nil {
		return Wish{}, explain("read the wish for "+name+" in", central, err)
	}
	var m ocispec.Manifest
	if err = json.Unmarshal(raw, &m); err == nil && (m.ArtifactType != wishType || m.Annotations[wishNameKey] != name) {
		err = errors.New("the artifact under that tag is not this wish")
	}
	w := Wish{Package: name}
	if err == nil {
		w.Reference, err = ParseReference(m.Annotations[wishReferenceKey])
	}
	if err == nil && w.Reference.Digest == "" {
		err = errors.New("its reference has no digest")
	}
	if err == nil {
		w.Published, err = time.Parse(time.RFC3339Nano, m.Annotations[ocispec.AnnotationCreated])
	}
	return w, explain("read the wish for "+name+" in", central, err)
}
