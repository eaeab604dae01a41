package packager

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
)

// declareFlows makes the flows of a version known.
func (p *Packager) declareFlows(name string, m manifest.Manifest) {
	if p.options.Flows.Declare != nil {
		p.options.Flows.Declare(name, m.Flows)
	}
}

// declareAllFlows makes the flows of all versions that serve known, and those of first
// installations that an earlier host has unpacked.
func (p *Packager) declareAllFlows() {
	for _, record := range p.records.All() {
		v := record.Serving
		if v == nil && record.Operation != nil {
			v = record.Operation.Target
		}
		if v == nil || record.State == records.Removing {
			continue
		}
		if c, err := p.readCandidate(record.Name, *v); err == nil {
			p.declareFlows(record.Name, c.manifest)
		}
	}
}

// takeFlows reserves the names of the flows, and makes them known if it is a first installation:
// their messages wait for its end. The error names another package that has one of the names.
func (o *operation) takeFlows(m manifest.Manifest) error {
	if err := o.claimFlows(m.Flows); err != nil {
		return err
	}
	if record, _ := o.p.records.Get(o.name); record.Serving == nil {
		o.p.declareFlows(o.name, m)
	}
	return nil
}

// claimFlows reserves the names of the flows until the operation ends.
func (o *operation) claimFlows(declared []configs.Flow) error {
	var wanted []string
	for _, flow := range declared {
		wanted = append(wanted, strings.ToLower(flow.Name))
	}
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	for _, name := range wanted {
		if other := o.p.flowOwner(o.name, name); other != "" {
			return fmt.Errorf("%w: the packages %s and %s both declare the flow %s; uninstall %s first", ErrRefused, o.name, other, name, other)
		}
	}
	claimed := o.p.claims[o.name]
	claimed.flows = wanted
	o.p.claims[o.name] = claimed
	return nil
}

// flowOwner returns the package besides that one that has or reserves the flow, whose name is in
// lower case; empty for none. The caller holds mu.
func (p *Packager) flowOwner(besides, flow string) string {
	for other, taken := range p.claims {
		if other != besides && slices.Contains(taken.flows, flow) {
			return other
		}
	}
	isFlow := func(name string) bool { return strings.ToLower(name) == flow }
	for _, record := range p.records.All() {
		if record.Name != besides && record.State != records.Removing && slices.ContainsFunc(p.flowNames(record), isFlow) {
			return record.Name
		}
	}
	return ""
}

// withdrawFlowsOfNone takes the flows away if nothing of the package was installed. Their states
// and messages stay.
func (o *operation) withdrawFlowsOfNone() {
	if record, _ := o.p.records.Get(o.name); record.Serving == nil && o.p.options.Flows.Withdraw != nil {
		o.p.options.Flows.Withdraw(o.name)
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
