package process

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/internal/ownedtree"
)

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
	journalName, "volatile", PersistentName, "host", loadingName, "stdout", "stdout.read", "stderr", "stderr.read",
}

// HoldsInstances reports whether dir holds the run directory of an instance.
func HoldsInstances(dir string) bool {
	entries, _ := os.ReadDir(dir) // what can't be read holds none
	return slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		path := filepath.Join(dir, entry.Name())
		return isMarkedRunDir(path) || isRunDirOfEarlierVersion(path)
	})
}

// isMarkedRunDir reports whether dir is marked and has a volatile directory, which has no mark
// of its own.
func isMarkedRunDir(dir string) bool {
	volatile := filepath.Join(dir, "volatile")
	info, err := os.Lstat(volatile)
	return ownedtree.IsMarked(dir) && err == nil && info.IsDir() && !ownedtree.IsMarked(volatile)
}

// markRunDirOfEarlierVersion marks a run directory that an earlier version made, as one of an
// instance that sleeps or is to be adopted.
func markRunDirOfEarlierVersion(dir string) error {
	if ownedtree.IsMarked(dir) || !isRunDirOfEarlierVersion(dir) {
		return nil
	}
	return ownedtree.Mark(dir)
}

// isRunDirOfEarlierVersion reports whether dir has a journal or the socket of a plugin, and
// otherwise only what a run directory of an earlier version holds.
func isRunDirOfEarlierVersion(dir string) bool {
	entries, err := os.ReadDir(dir)
	found := false
	for _, entry := range entries {
		name := entry.Name()
		isSocket := strings.HasPrefix(name, "plugin") && entry.Type() == os.ModeSocket
		if !isSocket && !slices.Contains(namesOfEarlierVersions, name) {
			return false
		}
		found = found || isSocket || name == journalName
	}
	return err == nil && found
}
