package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/hibernate"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/shell/process"
)

// namesInRoot are what may be in a root: the host's own, and what operators put there.
var namesInRoot = []string{
	programsName, StoreName, postMortemName, OutputsName, process.PersistentName, "images", "run", "lock", "address", "tokens",
	"ui", "dormouse.toml", "plugins.d",
}

// claimOwnDirs makes and marks the host's directories below its root, and that of the images.
// A directory that is there must be marked or empty, or of an earlier version; the error names
// one that is not. Persistent directories that the operator has put there are taken as they
// are, and logged, as is what else is in a root that is new.
func (h *Host) claimOwnDirs() error {
	root, images := h.options.Config.Host.Root, h.options.Config.Hibernate.Dir
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("cannot make the root directory: %w", err)
	}
	isNew := !ownedtree.IsMarked(root)
	isEarlier := isNew && exists(filepath.Join(root, StoreName))
	for _, dir := range []string{filepath.Join(root, programsName), filepath.Join(root, postMortemName), filepath.Join(root, OutputsName), images} {
		if err := claimDir(dir, isEarlier || dir == images && hibernate.IsStore(images)); err != nil {
			return fmt.Errorf("cannot keep the host's files in %s: %w; choose another --root, or another dir in [hibernate]", dir, err)
		}
	}
	err := claimDir(filepath.Join(root, process.PersistentName), isEarlier)
	if foreign, is := errors.AsType[*ownedtree.ForeignError](err); is {
		h.log.Info().Msg(foreign.Error() + " when instances are destroyed")
		err = nil
	}
	if err != nil || !isNew {
		return err
	}
	others, err := ownedtree.ForeignEntries(root, slices.Concat(namesInRoot, store.FilesBeside(StoreName), []string{filepath.Base(images)})...)
	if len(others) > 0 && !h.options.private {
		h.log.Warn().Str("root", root).Msg("the root directory is not the host's alone, and the host leaves the rest alone: " + strings.Join(others, ", "))
	}
	return errors.Join(err, ownedtree.Mark(root))
}

// claimDir makes and marks dir. With isEarlier it marks what is there, which an earlier
// version has made. Otherwise the error is a *ownedtree.ForeignError if dir is not the host's.
func claimDir(dir string, isEarlier bool) error {
	if isEarlier {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return ownedtree.Mark(dir)
	}
	return ownedtree.Make(dir)
}

// exists reports whether there is a file at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
