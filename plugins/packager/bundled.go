package packager

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
)

// bundledRequests returns the requests that install the packages which came with Dormouse: none
// that the user has removed, disabled or has in the same or a newer version.
func (p *Packager) bundledRequests() ([]records.Request, error) {
	dir := p.settings().Bundled
	entries, err := os.ReadDir(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nil, err
	}
	note, _, err := startNotes(p.options.Store).Get(startKey)
	if err != nil {
		return nil, err
	}
	var all []records.Request
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		m, ok, err := p.peekBundled(path, e)
		if err != nil {
			p.log.Error().Err(err).Str("path", path).Msg("this bundled package is left out")
		}
		if !ok || slices.Contains(note.RemovedBundled, m.Name) || !p.isNewer(m) {
			continue
		}
		all = append(all, records.Request{Verb: records.Install, Source: path, Origin: records.Bundled, By: "bundled", FromHere: true, Named: m.Name})
	}
	return all, nil
}

// peekBundled returns the manifest of an archive or a directory; ok is false for another file.
func (p *Packager) peekBundled(path string, e fs.DirEntry) (m manifest.Manifest, ok bool, err error) {
	if !e.IsDir() && !strings.HasSuffix(e.Name(), ".tar.zst") && !strings.HasSuffix(e.Name(), ".tar.gz") {
		return m, false, nil
	}
	head, err := p.peekSource(p.ctx, path)
	return head.Manifest, err == nil, err
}

// isNewer reports whether a bundled package is to come in the place of what is installed.
func (p *Packager) isNewer(m manifest.Manifest) bool {
	record, found := p.records.Get(m.Name)
	if !found {
		return true
	}
	if record.Disabled || record.Serving == nil || record.Operation != nil {
		return false
	}
	return manifest.CompareVersions(m.Version, record.Serving.Version) > 0
}
