// Package disk has the directories in which packages lie: the unpacked versions, the links to
// those that serve, the data kept of earlier versions, uploads and the trash. It does not know
// what is in a package, nor which version is to serve.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// Names in the directory of packages.
const (
	DatabaseName = "database" // the archives
	versionsName = "versions" // NAME/DIGEST, unpacked; nothing changes in them
	filesName    = "files"    // NAME, a link to the version that serves, or what an operator put there
	dataName     = "data"     // NAME/DIGEST/CALLSIGN, of a version that can be put back
	statePrefix  = ".state-"  // begins, beside CALLSIGN, the name of the state that is kept with it
	trashName    = "trash"    // TIME-LABEL, for TrashTime
	uploadName   = "upload"   // archives that arrive
	draftPrefix  = ".draft-"  // begins the name of what is not whole yet
)

// Dirs is the directory of packages of one host.
type Dirs struct{ root string }

// At returns the directories in root, which need not exist yet.
func At(root string) *Dirs { return &Dirs{root} }

// Make makes the directories, except that of the files. What an earlier host left unfinished is
// removed.
func (d *Dirs) Make() error {
	err := os.MkdirAll(d.root, 0o700) // an operator may have put files there before the first start
	if err == nil {
		err = ownedtree.Mark(d.root)
	}
	if err != nil {
		return fmt.Errorf("cannot make the directory of packages: %w", err)
	}
	for _, name := range []string{versionsName, dataName, trashName, uploadName} {
		if err := makeMarked(filepath.Join(d.root, name)); err != nil {
			return fmt.Errorf("cannot make the directory of packages: %w", err)
		}
	}
	return d.removeDrafts()
}

// makeMarked makes a directory of Dormouse's. One that is there needs no look at its entries.
func makeMarked(dir string) error {
	if ownedtree.IsMarked(dir) {
		return nil
	}
	return ownedtree.Make(dir)
}

// MakeFiles makes the directory of files, unless it exists. It returns whether it is Dormouse's
// and was there before.
func (d *Dirs) MakeFiles() (wasThere bool, err error) {
	dir := d.FilesDir()
	wasThere = ownedtree.IsMarked(dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	return wasThere, ownedtree.Mark(dir)
}

// FilesDir returns the directory of the links, in which an operator can put packages.
func (d *Dirs) FilesDir() string { return filepath.Join(d.root, filesName) }

// DatabaseDir returns the directory of the archives.
func (d *Dirs) DatabaseDir() string { return filepath.Join(d.root, DatabaseName) }

// UploadDir returns the directory of archives that arrive.
func (d *Dirs) UploadDir() string { return filepath.Join(d.root, uploadName) }

// VersionDir returns the directory of an unpacked version, which need not exist.
func (d *Dirs) VersionDir(name, digest string) string {
	return filepath.Join(d.root, versionsName, filepath.Base(name), hexOf(digest))
}

// HasVersion reports whether the version lies unpacked.
func (d *Dirs) HasVersion(name, digest string) bool {
	info, err := os.Lstat(d.VersionDir(name, digest))
	return err == nil && info.IsDir()
}

// hexOf returns a digest as the name of a directory.
func hexOf(digest string) string { return filepath.Base(strings.TrimPrefix(digest, "sha256:")) }

// NewDraft returns a path beside the versions of a package at which nothing is yet.
func (d *Dirs) NewDraft(name string) (string, error) {
	parent := filepath.Join(d.root, versionsName, filepath.Base(name))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, draftPrefix)
	if err != nil {
		return "", err
	}
	return dir, os.Remove(dir)
}

// PublishVersion gives an unpacked draft, which is on the disk as a whole, its place, durably. If
// the version is there already, the draft is removed.
func (d *Dirs) PublishVersion(draft, name, digest string) error {
	if d.HasVersion(name, digest) {
		return ownedtree.Remove(draft)
	}
	to := d.VersionDir(name, digest)
	if err := os.Rename(draft, to); err != nil {
		return err
	}
	parent := filepath.Dir(to)
	return errors.Join(atomicfile.SyncDir(parent), atomicfile.SyncDir(filepath.Dir(parent)))
}

// Versions returns the digests of the versions of a package that lie unpacked.
func (d *Dirs) Versions(name string) (digests []string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.root, versionsName, filepath.Base(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			digests = append(digests, "sha256:"+e.Name())
		}
	}
	return digests, err
}

// Packages returns the names of the packages of which versions lie unpacked.
func (d *Dirs) Packages() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(d.root, versionsName))
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// RemoveVersion removes an unpacked version: it first gets the name of a draft, so that no half
// of it keeps its name.
func (d *Dirs) RemoveVersion(name, digest string) error {
	dir := d.VersionDir(name, digest)
	draft := filepath.Join(filepath.Dir(dir), draftPrefix+filepath.Base(dir))
	if err := os.Rename(dir, draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := ownedtree.Remove(draft)
	d.RemoveIfEmpty(name)
	return err
}

// RemoveIfEmpty removes the directory for the versions of a package if none is in it.
func (d *Dirs) RemoveIfEmpty(name string) {
	_ = os.Remove(filepath.Join(d.root, versionsName, filepath.Base(name)))
}

// removeDrafts removes what is not whole of versions and links.
func (d *Dirs) removeDrafts() error {
	parents := []string{d.FilesDir(), filepath.Join(d.root, dataName)}
	for _, top := range []string{versionsName, dataName} {
		names, err := os.ReadDir(filepath.Join(d.root, top))
		if err != nil {
			return err
		}
		for _, name := range names {
			parents = append(parents, filepath.Join(d.root, top, name.Name()))
		}
	}
	var errs []error
	for _, parent := range parents {
		entries, err := os.ReadDir(parent)
		if err != nil {
			continue // it is a file, or not there
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), draftPrefix) {
				errs = append(errs, ownedtree.Remove(filepath.Join(parent, e.Name())))
			}
		}
	}
	return errors.Join(errs...)
}

// syncFileSystem makes durable all that was written to the file system of a path.
func syncFileSystem(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "sync", Path: path, Err: err}
	}
	return nil
}
