package packager

import (
	"errors"

	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
)

// declareFlows makes the flows of a version known.
func (p *Packager) declareFlows(name string, c candidate) {
	if p.options.Flows.Declare != nil {
		p.options.Flows.Declare(name, c.manifest.Flows)
	}
}

// declareAllFlows makes the flows of all versions that serve known.
func (p *Packager) declareAllFlows() {
	for _, record := range p.records.All() {
		if record.Serving == nil || record.State == records.Removing {
			continue
		}
		if c, err := p.readCandidate(record.Name, *record.Serving); err == nil {
			p.declareFlows(record.Name, c)
		}
	}
}

// flowNames returns the names of the flows that the version that serves declares.
func (p *Packager) flowNames(r records.Record) []string {
	names := []string{}
	if r.Serving == nil {
		return names
	}
	m, err := manifest.Read(p.versionDir(r.Name, r.Serving.Digest))
	if err != nil {
		return names
	}
	for _, flow := range m.Flows {
		names = append(names, flow.Name)
	}
	return names
}

func isTooLarge(err error) bool { return errors.Is(err, disk.ErrTooLarge) }
