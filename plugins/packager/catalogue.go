package packager

import (
	"context"
	"fmt"

	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// Offer is a package of the catalogue.
type Offer struct {
	Name        string   `json:"name"`
	Versions    []string `json:"versions"` // newest first
	Description string   `json:"description,omitempty"`
}

// Catalogue is the repository of the official packages.
type Catalogue interface {
	// Read reads the catalogue again. Offers returns what it held when it was last read.
	Read(ctx context.Context) error
	Offers() []Offer
}

// remote returns what fetches archives. It is made when it is first needed.
func (p *Packager) remote() (*registries, error) {
	return newRegistries(p.settings(), p.options.Version)
}

// synchronizeCatalogue begins to read the catalogue again. A second read at once is an
// *InProgressError. The end is told as an event.
func (p *Packager) synchronizeCatalogue() error {
	if p.options.Catalogue == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
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
	err := p.options.Catalogue.Read(p.ctx)
	p.mu.Lock()
	p.reading = false
	p.mu.Unlock()
	end := catalogueEnd{Offers: len(p.options.Catalogue.Offers())}
	if err != nil {
		end.Error = err.Error()
		p.log.Warn().Err(err).Msg("could not read the catalogue")
	}
	p.notify(syncEvent, end)
}
