package packager

import (
	"context"
	"fmt"
	"os"

	"dormouse/configs"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/packager/trust"
)

// peeked is what an archive or a directory says of itself before anything is unpacked.
type peeked struct {
	manifest.Manifest

	head archive.Head
}

// peekSource reads the manifest, the sums and the signature of an archive or a directory of this
// machine.
func (p *Packager) peekSource(ctx context.Context, source string) (peeked, error) {
	info, err := os.Stat(source)
	if err != nil {
		return peeked{}, err
	}
	if info.IsDir() {
		head, err := archive.PeekDirectory(ctx, source, manifest.FileName)
		return parsePeeked(source, head, err)
	}
	f, err := os.Open(source)
	if err != nil {
		return peeked{}, err
	}
	defer f.Close()
	head, err := archive.Peek(ctx, f, p.unpackLimits(), manifest.FileName)
	return parsePeeked(source, head, err)
}

func parsePeeked(source string, head archive.Head, err error) (peeked, error) {
	if err != nil {
		return peeked{}, err
	}
	m, err := manifest.Parse(source, head.File)
	return peeked{m, head}, err
}

// checkTrust returns the key that has signed a package, "" for one that may be unsigned, or an
// ErrRefused.
func (p *Packager) checkTrust(head archive.Head, r records.Request) (keyID string, err error) {
	p.mu.Lock()
	keys, unsigned := p.keys, p.config.Unsigned
	p.mu.Unlock()
	keyID, err = trust.Admit(head.Sums, head.Signature, keys, unsigned, r.FromHere)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return keyID, nil
}

// candidate is a version that lies unpacked, with the instances that it has here.
type candidate struct {
	manifest manifest.Manifest
	version  records.Version
	plugins  []configs.Plugin
}

// readCandidate reads the manifest of a version that lies unpacked.
func (p *Packager) readCandidate(name string, v records.Version) (c candidate, err error) {
	dir := p.versionDir(name, v.Digest)
	if c.manifest, err = manifest.Read(dir); err != nil {
		return c, err
	}
	c.version = v
	c.version.Version, c.version.Data = c.manifest.Version, c.manifest.Data
	c.version.Provides, c.version.Uses = make(map[string]string), make(map[string]string)
	for _, provided := range c.manifest.Provides {
		c.version.Provides[provided.Type] = provided.Version
	}
	for _, used := range c.manifest.Uses {
		c.version.Uses[used.Type] = used.Range
	}
	c.plugins, err = c.manifest.Plugins(dir, p.overlaysNow())
	return c, err
}

// describe reads a version that has just been unpacked, with its fingerprint.
func (p *Packager) describe(name string, v records.Version) (c candidate, err error) {
	if c, err = p.readCandidate(name, v); err != nil {
		return c, err
	}
	c.version.Fingerprint, err = disk.Fingerprint(p.versionDir(name, v.Digest))
	return c, err
}

// checkPrivileges refuses a candidate that can't run here, that asks for more than the
// configuration allows any package, or for more than the version that serves, unless the request
// grants that.
func (o *operation) checkPrivileges(before *records.Version, c candidate) error {
	if err := c.manifest.CheckFor(manifest.Platform(), o.p.settings().Caps, o.p.options.Subsystems); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if before == nil || o.request.Grant {
		return nil
	}
	old, err := manifest.Read(o.p.versionDir(o.name, before.Digest))
	if err != nil {
		return nil //nolint:nilerr // what can't be read any more is no measure
	}
	if more := c.manifest.MoreThan(old); len(more) > 0 {
		return liftable(fmt.Errorf("%w: it asks for more than version %s: %s; --grant allows it", ErrRefused, before.Version, joinAnd(more)), "grant")
	}
	return nil
}
