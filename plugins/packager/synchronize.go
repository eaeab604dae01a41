package packager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dormouse/configs"
	"dormouse/internal/failpoint"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/packager/agreement"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// synchronizeAtStart brings database and files into agreement before the instances exist. What
// needs the instances is left for Start: packages that are inserted or change their version, as
// operations like any other. A first start that was cut off is gone on with by the next host:
// an ordinary one would delete the files that have no record yet.
func (p *Packager) synchronizeAtStart() error {
	note, found, err := startNotes(p.options.Store).Get(startKey)
	if err != nil {
		return err
	}
	first := !found || note.First || p.options.Store.Rebuilt()
	another := found && note.Release != release(p.options.Version)
	hadFiles, err := p.makeFiles(first || !note.HadFiles)
	if err != nil {
		return err
	}
	switch {
	case first:
		p.log.Info().Msg("the first start: what lies among the files is inserted, and the bundled packages")
		err = p.insertAllAtStart()
		p.withBundled = true
	case another:
		p.log.Info().Str("from", note.Release).Str("to", release(p.options.Version)).Msg("another version of Dormouse: the packages are not synchronized, only the bundled ones are looked at")
		p.withBundled = true
	default:
		err = p.synchronizeUnlessLost(hadFiles)
	}
	if first != note.First || !note.HadFiles {
		err = errors.Join(err, p.changeStartNote(func(n *startNote) { n.First, n.HadFiles = first, true }))
	}
	return err
}

// makeFiles makes the directory of the files if it may be missing, and returns whether it was
// there.
func (p *Packager) makeFiles(mayBeMissing bool) (wasThere bool, err error) {
	if mayBeMissing {
		_, err := p.dirs.MakeFiles()
		return true, err
	}
	return ownedtree.IsMarked(p.dirs.FilesDir()), nil
}

// synchronizeUnlessLost is the ordinary synchronization of a start.
func (p *Packager) synchronizeUnlessLost(hadFiles bool) error {
	if lost := p.whyLost(hadFiles); lost != nil {
		p.log.Error().Err(lost).Msg("the packages are not synchronized, and nothing is deleted; if this is as it should be, do it once by: dormouse package sync --really")
		return nil
	}
	actions, err := p.plan()
	if err != nil {
		return err
	}
	for _, a := range actions {
		p.log.Info().Str("package", a.Name).Msg(a.String())
		failpoint.Hit("package.syncing")
		if err := p.carryOut(a, false); err != nil {
			p.log.Error().Err(err).Str("package", a.Name).Msg("could not synchronize the package, it is left as it is")
		}
	}
	return nil
}

// whyLost returns why the source looks lost and not merely empty, nil if it does not.
func (p *Packager) whyLost(hadFiles bool) error {
	if p.settings().Source == configs.SourceFilesystem {
		if !hadFiles {
			return fmt.Errorf("the directory %s, or the mark %s in it, is missing", p.dirs.FilesDir(), ownedtree.MarkName)
		}
		if _, err := os.ReadDir(p.dirs.FilesDir()); err != nil {
			return err
		}
		return nil
	}
	if p.databaseLost != nil {
		return p.databaseLost
	}
	_, err := p.database.Entries()
	return err
}

// plan compares both sides.
func (p *Packager) plan() ([]agreement.Action, error) {
	pairs := make(map[string]*agreement.Pair)
	pair := func(name string) *agreement.Pair {
		if pairs[name] == nil {
			pairs[name] = &agreement.Pair{Name: name}
		}
		return pairs[name]
	}
	entries, err := p.database.Entries()
	if err != nil {
		return nil, err
	}
	archives := make(map[string]bool)
	for _, e := range entries {
		archives[e.Digest] = p.database.HasArchive(e)
	}
	for _, record := range p.records.All() {
		if record.Operation != nil {
			pair(record.Name).Busy = string(record.Operation.Request.Verb) + " is under way"
			continue
		}
		if record.Serving == nil {
			pair(record.Name).Busy = "its installation has failed"
			continue
		}
		side := &agreement.Side{Version: record.Serving.Version, Digest: record.Serving.Digest}
		if !archives[record.Serving.Digest] && !p.isIntact(record.Name, record.Serving) {
			side.Damaged = "its archive is not in the database any more"
		}
		pair(record.Name).Database = side
	}
	files, err := p.dirs.Entries()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range files {
		pair(e.Name).Files = p.filesSide(e)
	}
	all := make([]agreement.Pair, 0, len(pairs))
	for _, one := range pairs {
		all = append(all, *one)
	}
	return agreement.Plan(p.settings().Source, all), nil
}

// filesSide returns what lies under a name among the files.
func (p *Packager) filesSide(e disk.Entry) *agreement.Side {
	record, _ := p.records.Get(e.Name)
	if e.Digest != "" && record.Serving != nil && record.Serving.Digest == e.Digest && p.isIntact(e.Name, record.Serving) {
		return &agreement.Side{Version: record.Serving.Version, Digest: e.Digest}
	}
	dir := e.Dir
	if e.Digest != "" {
		dir = p.dirs.VersionDir(e.Name, e.Digest)
	}
	m, err := manifest.Read(dir)
	if err == nil && m.Name != e.Name {
		err = fmt.Errorf("the package in it is called %s", m.Name)
	}
	if err != nil {
		return &agreement.Side{Damaged: "it is not a package: " + err.Error()}
	}
	digest, err := archive.Verify(p.ctx, dir)
	if err != nil {
		return &agreement.Side{Version: m.Version, Damaged: err.Error()}
	}
	if e.Digest != "" && string(digest) != e.Digest {
		return &agreement.Side{Version: m.Version, Damaged: "the link leads to another version than its name says"}
	}
	return &agreement.Side{Version: m.Version, Digest: string(digest)}
}

// isIntact reports whether the directory of a version is as it was unpacked. If only times and
// inodes differ, its files are read.
func (p *Packager) isIntact(name string, v *records.Version) bool {
	dir := p.dirs.VersionDir(name, v.Digest)
	if now, err := disk.Fingerprint(dir); err != nil || now == v.Fingerprint {
		return err == nil
	}
	digest, err := archive.Verify(p.ctx, dir)
	return err == nil && string(digest) == v.Digest
}

// carryOut does what an action says. What needs instances is begun as an operation; before there
// are any it is noted for Start.
func (p *Packager) carryOut(a agreement.Action, running bool) error {
	switch a.Kind {
	case agreement.DeleteFiles:
		return p.deleteFiles(a.Name)
	case agreement.WriteFiles:
		return p.writeFiles(a.Name)
	case agreement.DeleteRecord:
		if running {
			return p.begin(a.Name, records.Request{Verb: records.Uninstall, Force: true, ToTrash: true, By: bySync})
		}
		return p.deleteRecord(a.Name)
	case agreement.InsertRecord, agreement.ReplaceRecord:
		r := p.requestForFiles(a.Name)
		if !running {
			p.laterRequests = append(p.laterRequests, r)
			return nil
		}
		return p.begin(a.Name, r)
	default:
		return nil
	}
}

// bySync says in the history that a synchronization began an operation.
const bySync = "sync"

// requestForFiles returns the request that installs what lies among the files.
func (p *Packager) requestForFiles(name string) records.Request {
	return records.Request{
		Verb: records.Install, Source: filepath.Join(p.dirs.FilesDir(), name), Origin: records.Local, By: bySync, FromHere: true,
		Replace: true, Downgrade: true,
	}
}

// deleteFiles moves what lies among the files into the trash, with the unpacked version.
func (p *Packager) deleteFiles(name string) error {
	e, found := p.dirs.Entry(name)
	if !found {
		return nil
	}
	if err := p.dirs.Unlink(name); err != nil || e.Digest == "" {
		return err
	}
	failpoint.Hit("package.unlinked")
	if !p.dirs.HasVersion(name, e.Digest) {
		return nil
	}
	return p.dirs.Trash(p.dirs.VersionDir(name, e.Digest), name)
}

// writeFiles makes what lies among the files the version that the database has.
func (p *Packager) writeFiles(name string) error {
	record, _ := p.records.Get(name)
	v := record.Serving
	if p.dirs.HasVersion(name, v.Digest) && !p.isIntact(name, v) {
		if err := p.dirs.Trash(p.dirs.VersionDir(name, v.Digest), name); err != nil {
			return err
		}
	}
	if !p.dirs.HasVersion(name, v.Digest) {
		if err := p.unpackFromDatabase(name, v); err != nil {
			return err
		}
	}
	failpoint.Hit("package.written")
	if err := p.noteFingerprint(name, v); err != nil {
		return err
	}
	return p.dirs.Link(name, v.Digest)
}

// unpackFromDatabase unpacks the archive of a version.
func (p *Packager) unpackFromDatabase(name string, v *records.Version) error {
	_, path, found, err := p.database.Find(v.Digest)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("the archive of %s %s is not in the database any more; install it again", name, v.Version)
	}
	draft, err := p.dirs.NewDraft(name)
	if err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	digest, err := archive.Unpack(p.ctx, in, draft, p.unpackLimits(), nil)
	if err != nil {
		return err
	}
	if string(digest) != v.Digest {
		return errors.Join(fmt.Errorf("the archive in the database holds other bytes, %s", digest), ownedtree.Remove(draft))
	}
	return p.dirs.PublishVersion(draft, name, v.Digest)
}

// noteFingerprint records that the directory of a version is as it should be.
func (p *Packager) noteFingerprint(name string, v *records.Version) error {
	now, err := disk.Fingerprint(p.dirs.VersionDir(name, v.Digest))
	if err != nil || now == v.Fingerprint {
		return err
	}
	_, err = p.records.Step(name, records.Note, func(r *records.Record) error {
		r.Serving.Fingerprint = now
		return nil
	})
	return err
}

// deleteRecord takes a package out of the database before its instances exist. Its archive goes
// to the trash; the data of its plugins stays.
func (p *Packager) deleteRecord(name string) error {
	record, _ := p.records.Get(name)
	if err := p.trashArchive(record); err != nil {
		return err
	}
	failpoint.Hit("package.trashed")
	_, err := p.records.Step(name, records.Discard, nil)
	return err
}

// trashArchive moves the archive of the version that serves into the trash.
func (p *Packager) trashArchive(record records.Record) error {
	if record.Serving == nil {
		return nil
	}
	e, _, found, err := p.database.Find(record.Serving.Digest)
	if err != nil || !found {
		return err
	}
	return p.database.Remove(e.Digest, func(path string) error { return p.dirs.Trash(path, database.FileName(e)) })
}

// insertAllAtStart has everything that lies among the files and is not in the database inserted.
func (p *Packager) insertAllAtStart() error {
	files, err := p.dirs.Entries()
	for _, e := range files {
		if record, _ := p.records.Get(e.Name); record.State != records.Absent {
			continue
		}
		if side := p.filesSide(e); side.Damaged != "" {
			p.log.Error().Str("package", e.Name).Msg("left as it is: " + side.Damaged)
			continue
		}
		a := agreement.Action{Name: e.Name, Kind: agreement.InsertRecord}
		err = errors.Join(err, p.carryOut(a, false))
	}
	return err
}

// Sync brings database and files into agreement while the host runs, and returns a line for each
// action; with dryRun it only returns the lines. A source that looks lost is an error,
// unless really is true.
func (p *Packager) Sync(dryRun, really bool) (lines []string, err error) {
	if err := p.openDirs(); err != nil {
		return nil, err
	}
	if lost := p.whyLost(ownedtree.IsMarked(p.dirs.FilesDir())); lost != nil && !really {
		return nil, fmt.Errorf("%w: the source looks lost: %w; --really does it all the same", ErrRefused, lost)
	}
	if really && !dryRun {
		if _, err := p.dirs.MakeFiles(); err != nil {
			return nil, err
		}
		if err := p.database.Claim(); err != nil {
			return nil, err
		}
		p.databaseLost = nil
	}
	actions, err := p.plan()
	lines = []string{}
	for _, a := range actions {
		lines = append(lines, a.String())
		if dryRun {
			continue
		}
		p.log.Info().Str("package", a.Name).Msg(a.String())
		if err := p.carryOut(a, true); err != nil {
			lines[len(lines)-1] += "; failed: " + err.Error()
		}
	}
	return lines, err
}

// serveSync brings database and files into agreement.
func serveSync(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	return p.Sync(a.DryRun, a.Really)
}

// trashLine is what lies in the trash, as a list shows it.
type trashLine struct {
	ID    string `json:"id"`
	Label string `json:"label"`
	At    string `json:"at"`
}

// serveTrash returns what lies in the trash, oldest first.
func serveTrash(_ context.Context, p *Packager, _ shell.Call) (any, error) {
	if err := p.openDirs(); err != nil {
		return nil, err
	}
	all := []trashLine{}
	trashed, err := p.dirs.Trashed()
	for _, t := range trashed {
		all = append(all, trashLine{t.ID, t.Label, t.At.Format("2006-01-02T15:04:05Z07:00")})
	}
	return all, err
}

// serveRestore begins to install a package from the trash, named by its id there, or by the name
// of the package for what was deleted last.
func serveRestore(_ context.Context, p *Packager, c shell.Call) (any, error) {
	a, err := readParams(c.Params)
	if err != nil {
		return nil, err
	}
	if err := p.openDirs(); err != nil {
		return nil, err
	}
	trashed, err := p.dirs.Trashed()
	if err != nil {
		return nil, err
	}
	var source string
	for _, t := range trashed {
		byName := a.ID == "" && (t.Label == a.Package || strings.HasPrefix(t.Label, a.Package+"-") && strings.Contains(t.Label, ".tar."))
		if byName || a.ID != "" && t.ID == a.ID {
			source = t.Path
		}
	}
	if source == "" {
		return nil, fmt.Errorf("%w in the trash: %s; dormouse package trash lists what there is", ErrUnknown, a.Package+a.ID)
	}
	r := a.request(records.Install)
	r.Source, r.Downgrade, r.Replace = source, true, true
	return nil, p.Install(r)
}
