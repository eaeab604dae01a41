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
