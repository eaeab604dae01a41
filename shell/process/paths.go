package process

import (
	"errors"
	"os"
	"path/filepath"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// PersistentName is the directory, in the host's root, of the persistent directories of all
// instances.
const PersistentName = "persistent"

// paths returns the instance's directories, for the substitution of variables.
func (b *Backend) paths() shell.Paths {
	return shell.Paths{
		Callsign:   b.callsign,
		Persistent: b.persistentDir(),
		Volatile:   b.volatileDir(),
		Data:       b.host.dataDir(b.startConfig),
		System:     b.host.StateDir,
	}
}

// runDir returns the directory of the sockets, the journal and the volatile files of the
// instance.
func (b *Backend) runDir() string      { return filepath.Join(b.host.RunDir, b.dirName) }
func (b *Backend) volatileDir() string { return filepath.Join(b.runDir(), "volatile") }

// persistentDir returns the directory of files that outlive the plugin. A probe has it in
// the run directory, since a probe must leave nothing.
func (b *Backend) persistentDir() string {
	if b.runsProbe() {
		return filepath.Join(b.runDir(), PersistentName)
	}
	return filepath.Join(b.host.StateDir, PersistentName, b.callsign)
}

// Paths returns the directories of an instance, as Initialize passes them to the plugin.
func (h Host) Paths(c configs.Plugin) *shellpb.Paths {
	return &shellpb.Paths{
		Persistent: filepath.Join(h.StateDir, PersistentName, c.Callsign),
		Volatile:   filepath.Join(h.RunDir, c.Callsign, "volatile"),
		Data:       h.dataDir(c),
	}
}

// dataDir returns the directory of the program's read-only files, "" if there is none.
func (h Host) dataDir(c configs.Plugin) string {
	switch {
	case c.Data != "":
		return c.Data
	case h.DataDir == "":
		return ""
	}
	return filepath.Join(h.DataDir, filepath.Base(c.Executable))
}

// RemoveInstanceFiles removes all files of an instance that is gone for good: its
// persistent and run directories and its images. It leaves what the host did not make, and
// logs that.
func (h Host) RemoveInstanceFiles(callsign string) error {
	return errors.Join(
		h.removePersistentDir(callsign),
		h.leaveForeign(callsign, ownedtree.RemoveMarked(filepath.Join(h.RunDir, callsign))),
		h.Images.ImageDir(callsign).RemoveAll(),
	)
}

// KeptPaths returns the directories in which something is kept of an instance of that callsign:
// images, golden ones too, and files in its persistent directory.
func (h Host) KeptPaths(callsign string) (paths []string) {
	persistent := filepath.Join(h.StateDir, PersistentName, callsign)
	if entries, err := os.ReadDir(persistent); err == nil && len(entries) > 0 {
		paths = append(paths, persistent)
	}
	return append(paths, h.Images.ImageDir(callsign).ImagePaths()...)
}

// removePersistentDir removes the persistent directory of an instance, if it lies in a
// directory that is marked: a plugin finds no mark in its own.
func (h Host) removePersistentDir(callsign string) error {
	all := filepath.Join(h.StateDir, PersistentName)
	dir := filepath.Join(all, callsign)
	if foreign, err := ownedtree.ForeignEntries(dir); !ownedtree.IsMarked(all) && (err != nil || len(foreign) > 0) {
		return h.leaveForeign(callsign, errors.Join(err, &ownedtree.ForeignError{Dir: dir, Names: foreign}))
	}
	return ownedtree.Remove(dir)
}

// leaveForeign logs a *ownedtree.ForeignError and returns nil. It returns any other error as
// it is.
func (h Host) leaveForeign(callsign string, err error) error {
	if foreign, is := errors.AsType[*ownedtree.ForeignError](err); is {
		h.Log.Warn().Str("callsign", callsign).Msg(foreign.Error())
		return nil
	}
	return err
}
