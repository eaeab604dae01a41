package packager

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dormouse/internal/filenames"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/packager/records"
)

// collect removes the versions of a package that are no longer kept: all but the last two, and
// any that a process, an image or a clone uses. Data that no rollback needs goes too. Failures
// are logged; the next operation tries again.
func (p *Packager) collect(name string) {
	if p.ctx.Err() != nil {
		return
	}
	record, _ := p.records.Get(name)
	keep := keptDigests(record)
	if e, found := p.dirs.Entry(name); found {
		keep[e.Digest] = true // also where the record was lost and could not be made again
	}
	if err := errors.Join(p.collectVersions(name, keep), p.collectData(record)); err != nil {
		p.log.Error().Err(err).Str("package", name).Msg("cannot remove what is not kept any more")
	}
}

// collectVersions removes the versions of a package, and their archives, except for those in keep and
// those in use.
func (p *Packager) collectVersions(name string, keep map[string]bool) error {
	digests, err := p.dirs.Versions(name)
	errs := []error{err}
	for _, digest := range digests {
		if keep[digest] || p.isInUse(p.dirs.VersionDir(name, digest)) {
			continue
		}
		errs = append(errs, p.dirs.RemoveVersion(name, digest), p.database.Remove(digest, os.Remove))
	}
	entries, err := p.database.Entries()
	errs = append(errs, err)
	for _, e := range entries {
		if e.Name == name && !keep[e.Digest] && !p.dirs.HasVersion(name, e.Digest) {
			errs = append(errs, p.database.Remove(e.Digest, os.Remove))
		}
	}
	return errors.Join(errs...)
}

// keptDigests returns the versions of a package that its record keeps.
func keptDigests(r records.Record) map[string]bool {
	keep := make(map[string]bool)
	versions := []*records.Version{r.Serving, r.Previous}
	if r.Operation != nil {
		versions = append(versions, r.Operation.Target, r.Operation.Earlier)
	}
	for _, v := range versions {
		if v != nil {
			keep[v.Digest] = true
		}
	}
	return keep
}

// collectData removes data that is kept for a rollback that is not possible any more.
func (p *Packager) collectData(record records.Record) error {
	if record.State == records.Installing {
		return nil
	}
	digests, err := p.dirs.KeptVersions(record.Name)
	for _, digest := range digests {
		if record.CanRollback && record.Previous != nil && record.Previous.Digest == digest {
			continue
		}
		err = errors.Join(err, p.dirs.RemoveData(record.Name, digest))
	}
	return err
}

// isInUse reports whether an instance, a clone among them, is configured to run a program in dir,
// a process runs one, or an image needs one. What can't be found out counts as in use.
func (p *Packager) isInUse(dir string) bool {
	if p.instances != nil {
		for _, sh := range p.instances.Shells() {
			if within(sh.Config().Executable, dir) {
				return true
			}
		}
	}
	if p.options.ImagesUse != nil {
		if uses, err := p.options.ImagesUse(dir); uses || err != nil {
			return true
		}
	}
	for _, pid := range filenames.NumbersIn("/proc") {
		if exe, err := os.Readlink(filepath.Join("/proc", itoa(pid), "exe")); err == nil && within(exe, dir) {
			return true
		}
	}
	return false
}

func within(path, dir string) bool { return strings.HasPrefix(path, dir+"/") }

// removeOldUploads removes the beginnings of archives that no operation goes on with, nor would
// a repetition of what failed. No client is served yet.
func (p *Packager) removeOldUploads() error {
	dir := p.dirs.UploadDir()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	wanted := make(map[string]bool)
	for _, record := range p.records.All() {
		if record.Operation != nil {
			p.addUploadsOf(wanted, record.Name, record.Operation.Request)
		}
		if record.Failure != nil {
			p.addUploadsOf(wanted, record.Name, record.Failure.Request)
		}
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.Name() != ownedtree.MarkName && !wanted[path] {
			errs = append(errs, ownedtree.Remove(path))
		}
	}
	return errors.Join(errs...)
}

// removeUploadOf removes the file that a request was fetched into, if there is one.
func (p *Packager) removeUploadOf(name string, r records.Request) error {
	err := os.Remove((&operation{p: p, name: name, request: r}).uploadPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// addUploadsOf adds the files that a request is fetched into.
func (p *Packager) addUploadsOf(wanted map[string]bool, name string, r records.Request) {
	o := &operation{p: p, name: name, request: r}
	wanted[o.uploadPath()], wanted[r.Source] = true, true
}
