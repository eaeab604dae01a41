package packager

import (
	"errors"
	"fmt"
	"reflect"
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

// declareAllFlows makes the flows of all packages known that an earlier host knew.
func (p *Packager) declareAllFlows() {
	for _, record := range p.records.All() {
		op := record.Operation
		switch {
		case p.options.Flows.Declare == nil:
		case record.State == records.Removing && op != nil && op.Phase == records.Discarding: // withdrawn
		case record.Serving == nil && record.Flows != nil:
			p.options.Flows.Declare(record.Name, record.Flows)
		case record.Serving != nil:
			if c, err := p.readCandidate(record.Name, *record.Serving); err == nil {
				p.declareFlows(record.Name, c.manifest)
			}
		}
	}
}

// ExpectsFlows returns a package that is being installed for the first time, or has failed in
// that, and whose flows are not known: that package, or with "" any.
func (p *Packager) ExpectsFlows(pkg string) (name string, expected bool) {
	for _, record := range p.records.All() {
		if record.HidesFlows() && (pkg == "" || pkg == record.Name) {
			return record.Name, true
		}
	}
	return "", false
}

// takeFlows reserves the names of the flows, and makes them known if it is a first installation:
// their messages wait for its success. The error names another package that has one of the names.
func (o *operation) takeFlows(m manifest.Manifest) error {
	if err := o.claimFlows(m.Flows); err != nil {
		return err
	}
	record, _ := o.p.records.Get(o.name)
	if record.Serving != nil {
		return nil
	}
	o.p.declareFlows(o.name, m)
	if reflect.DeepEqual(record.Flows, m.Flows) {
		return nil
	}
	return o.step(records.Note, func(r *records.Record) error {
		r.Flows = m.Flows
		return nil
	})
}

// takeSeenFlows makes the flows of a first installation known before its work begins, if its
// source lies on this machine and is trusted. What there is to say against them is said when the
// package is verified.
func (o *operation) takeSeenFlows(seen peeked) {
	record, _ := o.p.records.Get(o.name)
	if record.State != records.Pending || len(seen.head.Sums) == 0 {
		return
	}
	_, err := o.p.checkTrust(seen.head, o.request)
	if err == nil {
		err = o.takeFlows(seen.Manifest)
	}
	if err != nil {
		o.p.log.Debug().Err(err).Str("package", o.name).Msg("its flows are not known before it is verified")
	}
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

// withdrawFlowsOfNone takes the flows away if the package has gone. Their states and messages
// stay.
func (o *operation) withdrawFlowsOfNone() {
	if _, there := o.p.records.Get(o.name); !there && o.p.options.Flows.Withdraw != nil {
		o.p.options.Flows.Withdraw(o.name)
	}
}

// flowNames returns the names of the flows that the version that serves declares, or the first
// installation did.
func (p *Packager) flowNames(r records.Record) []string {
	names, declared := []string{}, r.Flows
	if r.Serving != nil {
		m, err := manifest.Read(p.versionDir(r.Name, r.Serving.Digest))
		if err != nil {
			return names
		}
		declared = m.Flows
	}
	for _, flow := range declared {
		names = append(names, flow.Name)
	}
	return names
}

func isTooLarge(err error) bool { return errors.Is(err, disk.ErrTooLarge) }
