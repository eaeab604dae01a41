package packager

import (
	"errors"
	"fmt"
	"os"

	"dormouse/configs"
	"dormouse/internal/failpoint"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
)

// install fetches, verifies, unpacks and probes a version beside the one that serves, and then
// switches to it. A failure before the switch leaves all as it was.
func (o *operation) install() error {
	record, _ := o.p.records.Get(o.name)
	if record.State == records.Installing && record.Operation.Phase != records.Waiting && record.Serving != nil {
		return o.resumeSwitch(record) // an earlier host had come to the switch
	}
	if record.State == records.Pending {
		if err := o.step(records.Begin, nil); err != nil {
			return err
		}
	}
	c, same, err := o.prepare()
	if err != nil || same {
		return err
	}
	return o.switchTo(c)
}

// prepare makes a candidate of what the request names. same says that the package is installed
// in just these bytes already.
func (o *operation) prepare() (c candidate, same bool, err error) {
	if o.request.Unpacked != "" && o.p.dirs.HasVersion(o.name, o.request.Unpacked) {
		c, err = o.candidateOnDisk(o.request.Unpacked)
	} else {
		c, same, err = o.bring()
	}
	if err != nil || same {
		return c, same, err
	}
	o.to = c.version.Version
	record, _ := o.p.records.Get(o.name)
	if err := o.checkVersion(record, c.manifest.Version, c.version.Digest); err != nil {
		return c, false, err
	}
	return c, false, o.probe(c)
}

// candidateOnDisk returns a version that an earlier operation has unpacked and that the record
// keeps.
func (o *operation) candidateOnDisk(digest string) (candidate, error) {
	record, _ := o.p.records.Get(o.name)
	for _, v := range []*records.Version{record.Serving, record.Previous} {
		if v != nil && v.Digest == digest {
			return o.p.describe(o.name, *v)
		}
	}
	return candidate{}, fmt.Errorf("%w: the version %s is not kept any more; install it again", ErrNotPossible, digest)
}

// bring fetches, verifies and unpacks what the request names.
func (o *operation) bring() (c candidate, same bool, err error) {
	f, err := o.fetch()
	if err != nil {
		return c, false, err
	}
	defer func() {
		if o.p.ctx.Err() == nil && !o.request.Uploaded { // else the next host, or a repetition, goes on with the file
			_ = os.Remove(f.path)
		}
	}()
	v, form, same, err := o.verify(f)
	if err != nil || same {
		return c, same, err
	}
	blob := beginDigest(f.path)
	defer func() { <-blob.done }()
	if err := o.unpack(f, v); err != nil {
		return c, false, err
	}
	if c, err = o.p.describe(o.name, v); err != nil {
		return c, false, err
	}
	return c, false, o.keepArchive(f.path, form, blob, c)
}

// verify reads what an archive says of itself, and compares it with the request and the rules. An
// archive of another package makes the operation one on that package.
func (o *operation) verify(f fetched) (v records.Version, form archive.Form, same bool, err error) {
	if err := o.enterPhase(records.Verifying); err != nil {
		return v, "", false, err
	}
	failpoint.Hit("package.verifying")
	head, err := o.p.peekSource(o.ctx, f.path)
	if err != nil {
		return v, "", false, fmt.Errorf("cannot read the package: %w", err)
	}
	if wanted := o.request.Version; wanted != "" && manifest.CompareVersions(wanted, head.Version) != 0 {
		return v, "", false, fmt.Errorf("%w: it is version %s and not %s", ErrRefused, head.Version, wanted)
	}
	if named := o.request.Named; named != "" && named != head.Name {
		return v, "", false, fmt.Errorf("%w: it is the package %s and not %s", ErrRefused, head.Name, named)
	}
	if head.Name != o.name {
		if err := o.moveTo(head.Name); err != nil {
			return v, "", false, err
		}
	}
	v = records.Version{
		Version: head.Version, Digest: string(head.head.Digest()), Source: o.request.Source, Origin: o.request.Origin,
		Installed: o.p.options.Clock().UTC(),
	}
	o.to = v.Version
	if o.request.Uploaded {
		v.Source = "upload"
	}
	if err := o.enterPhase(records.Verifying, func(r *records.Record) { r.Operation.Target = &v }); err != nil {
		return v, "", false, err
	}
	if v.Key, err = o.p.checkTrust(head.head, o.request); err != nil {
		return v, "", false, err
	}
	record, _ := o.p.records.Get(o.name)
	if serving := record.Serving; serving != nil && serving.Digest == v.Digest && record.State == records.Installed {
		o.unchanged = true
		return v, "", true, nil
	}
	if err := o.checkVersion(record, v.Version, v.Digest); err != nil {
		return v, "", false, err
	}
	return v, head.head.Form, false, o.takeFlows(head.Manifest)
}

// unpack unpacks an archive beside the versions that are there. What is unpacked must be what
// was verified.
func (o *operation) unpack(f fetched, v records.Version) (err error) {
	if err := o.enterPhase(records.Unpacking, func(r *records.Record) { r.Operation.Target = &v }); err != nil {
		return err
	}
	failpoint.Hit("package.unpacking")
	draft, err := o.p.dirs.NewDraft(o.name)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			o.p.dirs.RemoveIfEmpty(o.name)
		}
	}()
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	digest, err := archive.Unpack(o.ctx, in, draft, o.p.unpackLimits(), func(read int64) { o.tellProgress(read, f.size) })
	if err != nil {
		return fmt.Errorf("cannot unpack the package: %w", err)
	}
	failpoint.Hit("package.unpacked")
	if string(digest) != v.Digest {
		return errors.Join(fmt.Errorf("cannot unpack the package: its digest is %s, and was %s", digest, v.Digest), ownedtree.Remove(draft))
	}
	if err := o.p.dirs.PublishVersion(draft, o.name, v.Digest); err != nil {
		return errors.Join(fmt.Errorf("cannot unpack the package: %w", err), ownedtree.Remove(draft))
	}
	failpoint.Hit("package.published")
	return nil
}

// keepArchive moves the archive into the database. One that was uploaded also stays where it is,
// for a repetition of the operation.
func (o *operation) keepArchive(path string, form archive.Form, digest *blobDigest, c candidate) error {
	blob, size, err := digest.wait()
	if err != nil {
		return err
	}
	if o.request.Uploaded {
		if link := path + ".linked"; os.Link(path, link) == nil {
			path = link
			defer func() { _ = os.Remove(link) }() // if it was not moved
		}
	}
	return o.p.database.Add(path, database.Entry{
		Name: o.name, Version: c.version.Version, Digest: c.version.Digest, Blob: blob, Size: size, Gzip: form == archive.TarGzip,
	})
}

// checkVersion refuses a version that the request does not allow in place of the one that
// serves. The version that was rolled back from can come again.
func (o *operation) checkVersion(record records.Record, version, digest string) error {
	before := record.Serving
	if before == nil {
		return nil
	}
	switch order := manifest.CompareVersions(version, before.Version); {
	case before.Digest == digest:
		return nil // what failed is tried again
	case order == 0 && !o.request.Replace:
		return liftable(fmt.Errorf("%w: version %s is installed, and this one has other contents; --replace takes it", ErrRefused, before.Version), "replace")
	case order < 0 && !o.request.Downgrade:
		return liftable(fmt.Errorf("%w: version %s is installed, and %s is lower; --downgrade takes it", ErrRefused, before.Version, version), "downgrade")
	}
	return nil
}

// moveTo makes this operation one on the package of that name: the source did not say how its
// package is called.
func (o *operation) moveTo(name string) error {
	if err := configs.CheckPackageName(name); err != nil {
		return err
	}
	moved := &operation{
		p: o.p, name: name, request: o.request, begun: o.begun, ctx: o.ctx, cancel: o.cancel, done: o.done,
	}
	o.p.mu.Lock()
	if err := o.p.waitUntilFreeLocked(name); err != nil {
		o.p.mu.Unlock()
		return err
	}
	o.p.running[name] = moved
	o.p.mu.Unlock()
	if err := moved.enter(); err != nil {
		o.p.mu.Lock()
		delete(o.p.running, name)
		o.p.mu.Unlock()
		return err
	}
	old := o.name
	if err := o.step(records.Cancel, func(r *records.Record) error {
		r.Operation = nil
		return nil
	}); err != nil {
		return err
	}
	o.p.mu.Lock()
	delete(o.p.running, old)
	o.p.running[name] = o
	o.p.mu.Unlock()
	o.name, o.request, o.from = name, moved.request, moved.from
	if record, _ := o.p.records.Get(name); record.State == records.Pending {
		if err := o.step(records.Begin, nil); err != nil {
			return err
		}
	}
	return o.enterPhase(records.Verifying)
}
