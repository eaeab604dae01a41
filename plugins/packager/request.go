package packager

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/packager/trust"
)

// Install begins to install what the request names, and returns at once. What can be seen to be
// wrong without the network is an error; all else is told as an event.
func (p *Packager) Install(r records.Request) error {
	r.Verb = records.Install // or upgrade, if it is installed
	if r.Source == "" {
		return fmt.Errorf("%w: package is missing", ErrBadRequest)
	}
	if a := r.Architecture; a != "" && a != manifest.Platform() && a != runtime.GOARCH {
		return fmt.Errorf("%w: this machine runs %s, not %s", ErrBadRequest, manifest.Platform(), a)
	}
	seen, err := p.lookAt(&r)
	if err != nil {
		return err
	}
	return p.beginSeen(seen, r)
}

// beginUpload begins to install an archive that was received, and returns the operation's id.
func (p *Packager) beginUpload(seen peeked, r records.Request) (id string, err error) {
	if r.ID == "" {
		r.ID = rand.Text()
	}
	return r.ID, p.beginSeen(seen, r)
}

// lookAt returns what can be seen without the network of the package that a request is about, and
// fills in its origin: at least a name. The name of what must be fetched first is a guess, which
// the operation corrects.
func (p *Packager) lookAt(r *records.Request) (peeked, error) {
	if isPath(r.Source) && r.Named == "" {
		r.Origin, r.FromHere = records.Local, true
		if _, _, isLayout := oci.SplitLayout(r.Source); !isLayout {
			seen, err := p.peekSource(p.ctx, r.Source)
			if err != nil {
				err = fmt.Errorf("%w: cannot read the package: %w", ErrBadRequest, err)
			}
			return seen, err
		}
	}
	name, err := p.nameOf(r)
	return peeked{Manifest: manifest.Manifest{Name: name}}, err
}

// nameOf returns the name of a package that must be fetched first, or a guess of it, and fills in
// the origin.
func (p *Packager) nameOf(r *records.Request) (string, error) {
	switch {
	case r.Named != "":
		return r.Named, nil
	case isPath(r.Source):
		return guessedName(filepath.Base(r.Source)), nil
	case oci.IsReference(r.Source):
		ref, err := oci.ParseReference(r.Source)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrBadRequest, err)
		}
		if r.Origin = records.Local; p.isInCatalogue(ref) {
			r.Origin = records.Official
		}
		return guessedName(path.Base(ref.Repository)), nil
	case isURL(r.Source):
		if u, err := url.Parse(r.Source); err != nil || u.User != nil {
			return "", fmt.Errorf("%w: the address can't be read, or holds a password, which would be seen in logs", ErrBadRequest)
		}
		r.Origin = records.Local
		return guessedName(path.Base(r.Source)), nil
	}
	if err := configs.CheckPackageName(r.Source); err != nil {
		return "", fmt.Errorf("%w: %q is neither an absolute path, an address (oci://…, https://…) nor the name of a package", ErrBadRequest, r.Source)
	}
	if p.settings().Catalogue == "" {
		return "", fmt.Errorf("%w: cannot install %s by its name: set catalogue in [packages], or give a path or an address", ErrNoRegistry, r.Source)
	}
	r.Origin = records.Official
	return r.Source, nil
}

// isInCatalogue reports whether a reference is to a package in the catalogue.
func (p *Packager) isInCatalogue(ref oci.Reference) bool {
	at, err := oci.ParseReference(p.settings().Catalogue)
	return err == nil && at.Host == ref.Host && at.Repository == path.Dir(ref.Repository)
}

// guessedName returns a name for what was not read yet: the beginning of a file's name.
func guessedName(base string) string {
	base, _, _ = strings.Cut(base, ":")
	base, _, _ = strings.Cut(base, "@")
	for _, suffix := range []string{".tar.zst", ".tar.gz", ".tgz"} {
		base = strings.TrimSuffix(base, suffix)
	}
	var b strings.Builder
	for _, r := range strings.ToLower(base) {
		if 'a' <= r && r <= 'z' || b.Len() > 0 && ('0' <= r && r <= '9' || r == '-') {
			b.WriteRune(r)
		}
	}
	name := strings.TrimRight(b.String()[:min(b.Len(), 64)], "-")
	if configs.CheckPackageName(name) != nil {
		return "package"
	}
	return name
}

// isURL reports whether a source is the address of an archive on a web server.
func isURL(source string) bool {
	return strings.HasPrefix(source, "https://") || strings.HasPrefix(source, "http://")
}

// isPath reports whether a source is an archive or a directory of this machine.
func isPath(source string) bool { return filepath.IsAbs(source) }

// settings returns the table [packages] as it is now.
func (p *Packager) settings() configs.Packages {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.config
}

// overlaysNow returns the operator's changes of instances as they are now.
func (p *Packager) overlaysNow() []configs.Overlay {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.overlays
}

// unpackLimits bounds what is read of an archive.
func (p *Packager) unpackLimits() archive.Limits {
	return archive.LimitsFor(int64(p.settings().MaxSize))
}

// Reconfigure gives the Packager a configuration that was read again, and each package the
// instances that follow from it. It returns one line for each change.
func (p *Packager) Reconfigure(ctx context.Context, config configs.Packages, overlays []configs.Overlay) (changeLines []string, err error) {
	keys, err := trust.ReadKeys(config.Keys)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	other := p.config.Catalogue != config.Catalogue
	p.config, p.overlays, p.keys = config, overlays, keys
	p.mu.Unlock()
	p.tryAgainNow()
	if other {
		_ = p.synchronizeCatalogue() // one that is being read ends soon
	}
	for _, record := range p.records.All() {
		if record.Operation != nil || record.Serving == nil {
			continue // the operation uses the new configuration by itself
		}
		plugins, err := p.pluginsOf(record)
		if err != nil {
			changeLines = append(changeLines, "package "+record.Name+": "+err.Error())
			continue
		}
		lines, err := p.instances.Provide(ctx, record.Name, plugins)
		if err != nil {
			lines = []string{"package " + record.Name + ": " + err.Error()}
		}
		changeLines = append(changeLines, lines...)
	}
	return changeLines, nil
}
