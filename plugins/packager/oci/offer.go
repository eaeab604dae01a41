package oci

import (
	"context"
	"errors"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A catalogue is a repository whose tags that begin with offerTag name the packages in the
// repositories below it: the tag offer-clock says that there is CATALOGUE/clock.
const (
	offerType = "application/vnd.dormouse.offer.v1"
	offerTag  = "offer-"
)

// Offer is a package of a catalogue.
type Offer struct {
	Package     string
	Description string
	// Versions are the tags of its repository, sorted as text.
	Versions []string
}

// RepositoryOf returns the repository of a package in a catalogue.
func RepositoryOf(catalogue Reference, name string) Reference {
	return Reference{Host: catalogue.Host, Repository: catalogue.Repository + "/" + name}
}

// PublishOffer names a package in a catalogue. It replaces the earlier offer of that package and
// no other.
func (c *Client) PublishOffer(ctx context.Context, catalogue Reference, o Offer) error {
	err := c.putNote(ctx, catalogue, note{offerTag + o.Package, offerType, map[string]string{
		ocispec.AnnotationTitle: o.Package, ocispec.AnnotationDescription: o.Description, ocispec.AnnotationCreated: neverTime,
	}})
	return explain("offer "+o.Package+" in", catalogue, err)
}

// Offers returns the offers of a catalogue, sorted by package. One that can't be read is left
// out, and named in the error beside the others. With another error there are none.
func (c *Client) Offers(ctx context.Context, catalogue Reference) (offers []Offer, err error) {
	tags, err := c.Tags(ctx, catalogue)
	if err != nil {
		return nil, err
	}
	var unreadable error
	for _, tag := range tags {
		name, is := strings.CutPrefix(tag, offerTag)
		if !is {
			continue
		}
		o, err := c.offer(ctx, catalogue, name)
		switch {
		case err == nil:
			offers = append(offers, o)
		case errors.Is(err, ErrNotFound): // it has gone since
		case errors.Is(err, ErrUnreachable), errors.Is(err, ErrBusy), ctx.Err() != nil:
			return nil, err
		default:
			unreadable = errors.Join(unreadable, err)
		}
	}
	return offers, unreadable
}

// offer returns the present offer of that package, with its versions.
func (c *Client) offer(ctx context.Context, catalogue Reference, name string) (Offer, error) {
	annotations, err := c.getNote(ctx, catalogue, offerTag+name, offerType)
	if err != nil {
		return Offer{}, explain("read the offer of "+name+" in", catalogue, err)
	}
	versions, err := c.Tags(ctx, RepositoryOf(catalogue, name))
	return Offer{Package: name, Description: annotations[ocispec.AnnotationDescription], Versions: versions}, err
}
