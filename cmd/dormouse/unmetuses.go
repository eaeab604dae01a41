package main

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"dormouse/configs"
	"dormouse/shell"
)

// unmetUse is what an instance uses and none, or several, provide.
type unmetUse struct {
	Text string `json:"text"`
}

// warnOfUnmetUses prints what is missing or ambiguous among what the instances use of others;
// nothing if the host does not say.
func (c *client) warnOfUnmetUses(ctx context.Context, t *terminal, callsigns ...string) {
	for _, callsign := range callsigns {
		var unmet []unmetUse
		if result, err := c.call(ctx, "Controller.unmet@"+callsign, nil); err == nil {
			_ = json.Unmarshal(result, &unmet) // what was printed is right without them
		}
		for _, u := range unmet {
			t.printf("%s\n", u.Text)
		}
	}
}

// warnOfUnmetUsesOfPackage is warnOfUnmetUses for the instances of a package.
func (c *client) warnOfUnmetUsesOfPackage(ctx context.Context, t *terminal, name string) {
	p, err := c.getPackage(ctx, name)
	if err != nil {
		return // it may be uninstalled now
	}
	for _, i := range p.Instances {
		c.warnOfUnmetUses(ctx, t, i.Callsign)
	}
}

// printPackage prints everything about a package, and what its instances lack of others.
func (c *client) printPackage(ctx context.Context, t *terminal, p installedPackage, format *outputFormat) error {
	err := p.print(t, format)
	if err == nil && !format.isJSON() {
		c.warnOfUnmetUsesOfPackage(ctx, t, p.Name)
	}
	return err
}

// unmetUsesOf returns what instances of a configuration would use of others and what none, or
// several, would provide. What plugins say of themselves it asks the running host; without one
// it returns nothing.
func (c *client) unmetUsesOf(ctx context.Context, config configs.Config) (unmet []shell.UnmetUse) {
	running, err := c.listInstances(ctx, "")
	if err != nil {
		return nil
	}
	configured := make(map[string]configs.Plugin)
	for _, p := range config.Plugins {
		configured[p.Callsign] = p
	}
	all := make(map[string]shell.Profile)
	for _, r := range running {
		p, stays := configured[r.Callsign]
		if stays && r.Locator != "" && p.Executable != r.Locator || !stays && r.Package == "" && r.Parent == "" {
			continue // another program, or an instance that the configuration does not have
		}
		var record struct {
			Profile shell.Profile `json:"profile"`
		}
		if result, err := c.call(ctx, "Controller.open", map[string]string{"callsign": r.Callsign}); err == nil && json.Unmarshal(result, &record) == nil {
			all[r.Callsign] = record.Profile
		}
	}
	for _, callsign := range slices.Sorted(maps.Keys(configured)) {
		unmet = append(unmet, shell.UnmetUses(callsign, configured[callsign].Configuration, all)...)
	}
	return unmet
}
