package oci

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A wish is an artifact without an archive, whose tag begins with wishTag.
const (
	wishType         = "application/vnd.dormouse.wish.v1"
	wishTag          = "want-"
	wishReferenceKey = "org.dormouse.wish.reference"
	wishNameKey      = "org.dormouse.wish.package"
	wishGrantKey     = "org.dormouse.wish.grant"
)

// Wish says which package of a name many machines are to have.
type Wish struct {
	Package string
	// Reference names the artifact by its digest.
	Reference Reference
	// Published is when the wish was published, by the publisher's clock.
	Published time.Time
	// Grant says that the package may ask for more than the version before.
	Grant bool
}

// PublishWish writes a wish into the repository central and returns it. It replaces the earlier
// wish for that package and no other, and is later than that by its time too, whatever the
// publishers' clocks say.
func (c *Client) PublishWish(ctx context.Context, central Reference, w Wish) (Wish, error) {
	if w.Reference.Digest == "" {
		return w, fmt.Errorf("cannot publish the wish for %s: the reference %s has no digest", w.Package, w.Reference)
	}
	before, err := c.wish(ctx, central, w.Package)
	switch {
	case err == nil && !w.Published.After(before.Published):
		w.Published = before.Published.Add(1)
	case errors.Is(err, ErrUnreachable), errors.Is(err, ErrNotAllowed), errors.Is(err, ErrBusy), ctx.Err() != nil:
		return w, err
	}
	w.Published = w.Published.UTC()
	notes := map[string]string{
		wishNameKey: w.Package, wishReferenceKey: w.Reference.String(), ocispec.AnnotationCreated: w.Published.Format(time.RFC3339Nano),
	}
	if w.Grant {
		notes[wishGrantKey] = "true"
	}
	err = c.putNote(ctx, central, note{wishTag + w.Package, wishType, notes})
	return w, explain("publish the wish for "+w.Package+" in", central, err)
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
		switch {
		case err == nil:
			wishes[name] = w
		case errors.Is(err, ErrNotFound): // it has gone since
		case errors.Is(err, ErrUnreachable), errors.Is(err, ErrNotAllowed), errors.Is(err, ErrBusy), ctx.Err() != nil:
			return nil, err
		default:
			unreadable = errors.Join(unreadable, err)
		}
	}
	return wishes, unreadable
}

// wish returns the present wish for that package.
func (c *Client) wish(ctx context.Context, central Reference, name string) (Wish, error) {
	notes, err := c.getNote(ctx, central, wishTag+name, wishType)
	if err == nil && notes[wishNameKey] != name {
		err = errors.New("the artifact under that tag is a wish for another package")
	}
	w := Wish{Package: name, Grant: notes[wishGrantKey] == "true"}
	if err == nil {
		w.Reference, err = ParseReference(notes[wishReferenceKey])
	}
	if err == nil && w.Reference.Digest == "" {
		err = errors.New("its reference has no digest")
	}
	if err == nil {
		w.Published, err = time.Parse(time.RFC3339Nano, notes[ocispec.AnnotationCreated])
	}
	return w, explain("read the wish for "+name+" in", central, err)
}
