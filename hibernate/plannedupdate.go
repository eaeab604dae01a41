package hibernate

import (
	"fmt"
	"path/filepath"
	"strings"

	"dormouse/hibernate/pack"
)

// PlannedUpdate says what of a machine is about to be replaced.
type PlannedUpdate struct {
	// Engine is the name of the engine after the update, "" if it stays.
	Engine string
	// Kernel is the release of the kernel that will run, "" if it stays.
	Kernel string
	// files are the files that will be replaced, by their paths without symbolic links. The
	// value is the path of the new file, "" if its contents are not known.
	files map[string]string
}

// AddFile notes that the file at path will be replaced by the one at newPath. With "" it will
// be removed, or replaced by one that is not known. A kernel at path sets Kernel, too.
func (u *PlannedUpdate) AddFile(path, newPath string) {
	if u.files == nil {
		u.files = make(map[string]string)
	}
	u.files[withoutSymlinks(path)] = newPath
	if release := kernelReleaseOf(path); release != "" {
		u.Kernel = release
	}
}

// kernelReleaseOf returns the release of the kernel that the file at path is, or has the
// modules of: "6.18.1" for /boot/vmlinuz-6.18.1. It returns "" for any other file.
func kernelReleaseOf(path string) string {
	if release, is := strings.CutPrefix(path, "/boot/vmlinuz-"); is {
		return release
	}
	modules, is := strings.CutPrefix(strings.TrimPrefix(path, "/usr"), "/lib/modules/")
	release, _, isBelow := strings.Cut(modules, "/")
	if !is || !isBelow {
		return ""
	}
	return release
}

// NewFile returns the path of the file that will replace the one at path, "" if that file is
// not known, and whether the one at path will be replaced at all.
func (u *PlannedUpdate) NewFile(path string) (newPath string, isReplaced bool) {
	newPath, isReplaced = u.files[withoutSymlinks(path)]
	return newPath, isReplaced
}

// withoutSymlinks returns the absolute path of a file without symbolic links, also if there
// is no such file yet.
func withoutSymlinks(path string) string {
	if absolute, err := filepath.Abs(path); err == nil {
		path = absolute
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		return filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// CheckFitsAfter returns an ErrChanged if the image will not fit the machine after the
// update: its engine or kernel is another one then, or a file that its tree runs from is
// replaced. A new file with the same contents is no change.
func (i *Image) CheckFitsAfter(u *PlannedUpdate) error {
	m := &i.manifest
	if u.Engine != "" && m.Engine != u.Engine {
		return fmt.Errorf("%w: it was made by %s, which is to be replaced by %s", ErrChanged, m.Engine, u.Engine)
	}
	if u.Kernel != "" && m.Kernel != u.Kernel {
		return fmt.Errorf("%w: it was made under kernel %s, and %s is to run", ErrChanged, m.Kernel, u.Kernel)
	}
	t, err := i.newTagger()
	if err != nil {
		return err
	}
	for place, was := range m.Code {
		newPath, isReplaced := u.files[was.Path]
		if !isReplaced {
			continue
		}
		if same, err := was.isSameAs(newPath, place, t); err != nil {
			return fmt.Errorf("cannot read what is to replace %s: %w", was.Path, err)
		} else if !same {
			return fmt.Errorf("%w: %s is to be replaced, which the plugin runs from", ErrChanged, was.Path)
		}
	}
	return nil
}

// isSameAs reports whether the file at newPath has the contents of f, false if newPath is "".
// The place is that of f among the files of its image.
func (f *codeFile) isSameAs(newPath string, place int, t pack.Tagger) (bool, error) {
	if newPath == "" {
		return false, nil
	}
	next, err := statCodeFile(newPath)
	if err != nil {
		return false, err
	}
	return f.hasSameContents(next, place, t)
}
