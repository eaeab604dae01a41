package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// persistentName is the directory, in the host's root, of the persistent directories of all
// instances.
const persistentName = "persistent"

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
		return filepath.Join(b.runDir(), persistentName)
	}
	return filepath.Join(b.host.StateDir, persistentName, b.callsign)
}

// Paths returns the directories of an instance, as Initialize passes them to the plugin.
func (h Host) Paths(c configs.Plugin) *shellpb.Paths {
	return &shellpb.Paths{
		Persistent: filepath.Join(h.StateDir, persistentName, c.Callsign),
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
	persistent := filepath.Join(h.StateDir, "persistent", callsign)
	if entries, err := os.ReadDir(persistent); err == nil && len(entries) > 0 {
		paths = append(paths, persistent)
	}
	return append(paths, h.Images.ImageDir(callsign).ImagePaths()...)
}

// removePersistentDir removes the persistent directory of an instance, if it lies in a
// directory that is marked: a plugin finds no mark in its own.
func (h Host) removePersistentDir(callsign string) error {
	all := filepath.Join(h.StateDir, persistentName)
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

// makeRunDirs makes the run directory, marked, and the volatile directory in it. They may
// exist.
func (b *Backend) makeRunDirs() error {
	err := ownedtree.Make(b.runDir())
	if err == nil {
		err = os.MkdirAll(b.volatileDir(), 0o700)
	}
	if err != nil {
		return fmt.Errorf("cannot make the plugin's directory: %w", err)
	}
	return nil
}

// removeRunDir removes the run directory with all that is in it.
func (b *Backend) removeRunDir() error {
	if err := ownedtree.RemoveMarked(b.runDir()); err != nil {
		return fmt.Errorf("cannot clear the run directory: %w", err)
	}
	return nil
}

// namesOfEarlierVersions are those that a run directory held before such directories were
// marked, except for the plugin's sockets.
var namesOfEarlierVersions = []string{
	journalName, "volatile", persistentName, "host", loadingName, "stdout", "stdout.read", "stderr", "stderr.read",
}

// HoldsInstances reports whether dir holds the run directory of an instance.
func HoldsInstances(dir string) bool {
	entries, _ := os.ReadDir(dir) // what can't be read holds none
	return slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		path := filepath.Join(dir, entry.Name())
		return ownedtree.IsMarked(path) || isRunDirOfEarlierVersion(path)
	})
}

// markRunDirOfEarlierVersion marks a run directory that an earlier version made, as one of an
// instance that sleeps or is to be adopted.
func markRunDirOfEarlierVersion(dir string) error {
	if ownedtree.IsMarked(dir) || !isRunDirOfEarlierVersion(dir) {
		return nil
	}
	return ownedtree.Mark(dir)
}

// isRunDirOfEarlierVersion reports whether dir has a volatile directory and otherwise only
// what a run directory of an earlier version holds.
func isRunDirOfEarlierVersion(dir string) bool {
	if info, err := os.Lstat(filepath.Join(dir, "volatile")); err != nil || !info.IsDir() {
		return false
	}
	others, err := ownedtree.ForeignEntries(dir, namesOfEarlierVersions...)
	return err == nil && !slices.ContainsFunc(others, func(name string) bool { return !strings.HasPrefix(name, "plugin") })
}
