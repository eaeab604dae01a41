package packager

import (
	"errors"
	"fmt"
	"strings"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/records"
)

// probe checks everything of a candidate that can be checked beside the version that serves: its
// privileges, types and callsigns, that its programs start, and that the data can be kept.
func (o *operation) probe(c candidate) error {
	err := o.enterPhase(records.Probing, func(r *records.Record) { r.Operation.Target = &c.version })
	if err != nil {
		return err
	}
	failpoint.Hit("package.probing")
	record, _ := o.p.records.Get(o.name)
	if err := o.checkPrivileges(record.Serving, c); err != nil {
		return err
	}
	if err := errors.Join(o.takeFlows(c.manifest), o.claimFor(c)); err != nil {
		return err
	}
	for _, plugin := range c.plugins {
		if _, err := o.p.instances.Probe(o.ctx, plugin); err != nil {
			return fmt.Errorf("the program of %s does not start: %w", plugin.Callsign, err)
		}
	}
	failpoint.Hit("package.probed")
	return o.checkDataCanBeKept(record, c)
}

// checkDataCanBeKept refuses a candidate with another format of data if the data of an instance
// is larger than may be copied, and its file system can't share it.
func (o *operation) checkDataCanBeKept(record records.Record, c candidate) error {
	before := versionToKeep(record)
	if before == nil || before.Data == c.version.Data {
		return nil
	}
	limit := o.p.settings().KeepData
	for _, plugin := range c.plugins {
		dir := o.p.options.PersistentDir(plugin.Callsign)
		size, err := disk.DataSize(dir)
		if err != nil {
			return fmt.Errorf("cannot read the data of %s: %w", plugin.Callsign, err)
		}
		if size > int64(limit) && !o.p.dirs.SharesBlocks(dir) {
			return fmt.Errorf("%w: the data of %s could not be kept for a rollback: it has %d bytes, keep-data in [packages] allows %s, and the new version has another format (data = %d instead of %d)",
				ErrRefused, plugin.Callsign, size, limit, c.version.Data, before.Data)
		}
	}
	return nil
}

func joinAnd(texts []string) string { return strings.Join(texts, ", ") }
