package packager

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// Offer is a package of the catalogue.
type Offer struct {
	Name        string   `json:"name"`
	Versions    []string `json:"versions"` // newest first
	Description string   `json:"description,omitempty"`
}

// catalogue is what the catalogue offered when it was last read.
type catalogue struct {
	mu     sync.Mutex
	offers []Offer
	read   time.Time // the last time that it could be read
}

// remote returns what fetches archives; the caller closes it.
func (p *Packager) remote() (*registries, error) {
	return newRegistries(p.settings(), p.options.Version)
}

// browse returns what the catalogue offered when it was last read. If it was never read, that
// begins now.
func (p *Packager) browse() ([]Offer, error) {
	if p.settings().Catalogue == "" {
		return nil, fmt.Errorf("%w: set catalogue in [packages]", ErrNoRegistry)
	}
	p.catalogue.mu.Lock()
	offers, never := append([]Offer{}, p.catalogue.offers...), p.catalogue.read.IsZero()
	p.catalogue.mu.Unlock()
	if never {
		_ = p.synchronizeCatalogue() // it may have begun already
	}
	return offers, nil
}

// synchronizeCatalogue begins to read the catalogue again. A second read at once is an
// *InProgressError. The end is told as an event.
func (p *Packager) synchronizeCatalogue() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Catalogue == "" {
		return nil
	}
	if p.closed {
		return fmt.Errorf("%w: %w", shell.ErrUnavailable, errClosed)
	}
	if p.reading {
		return &InProgressError{"catalogue", "synchronize", records.Fetching}
	}
	p.reading = true
	p.active.Go(p.readCatalogue)
	return nil
}

// catalogueEnd is the parameters of the event synchronizationend.
type catalogueEnd struct {
	Offers int    `json:"offers"`
	Error  string `json:"error,omitempty"`
}

// readCatalogue reads the catalogue and tells how that ended.
func (p *Packager) readCatalogue() {
	offers, err := p.fetchOffers()
	p.catalogue.mu.Lock()
	if err == nil || offers != nil {
		p.catalogue.offers, p.catalogue.read = offers, p.options.Clock()
	}
	end := catalogueEnd{Offers: len(p.catalogue.offers)}
	p.catalogue.mu.Unlock()
	p.mu.Lock()
	p.reading = false
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	if err != nil {
		end.Error = err.Error()
		p.log.Warn().Err(err).Msg("could not read the catalogue")
	}
	p.notify(syncEvent, end)
}

// fetchOffers reads the offers in the repository of the catalogue.
func (p *Packager) fetchOffers() (offers []Offer, err error) {
	at, err := oci.ParseReference(p.settings().Catalogue)
	if err != nil {
		return nil, err
	}
	remote, err := p.remote()
	if err != nil {
		return nil, err
	}
	defer remote.close()
	found, err := remote.client.Offers(p.ctx, at)
	for _, o := range found {
		offers = append(offers, Offer{o.Package, versionsOf(o.Versions), o.Description})
	}
	return offers, err
}

// versionsOf returns the tags that are versions, newest first.
func versionsOf(tags []string) []string {
	versions := []string{}
	for _, tag := range tags {
		if version := oci.VersionOf(tag); manifest.IsVersion(version) {
			versions = append(versions, version)
		}
	}
	slices.SortFunc(versions, func(a, b string) int { return manifest.CompareVersions(b, a) })
	return versions
}
