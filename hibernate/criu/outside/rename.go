package outside

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// namesFile is a file of the image that says which regular files the tree had open or mapped,
// and by which names.
const namesFile = "dormouse-names.json"

// writeNames writes the file of names into the image in imageDir. The processes are stopped.
func writeNames(imageDir string, pids []int) error {
	text, err := json.Marshal(procfs.NamedFiles(pids))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(imageDir, namesFile), text, 0o600)
}

// renamedFile is a file that was renamed since the dump, so that a restore would not find it.
type renamedFile struct {
	file
	Path string `json:"path"` // the name that the tree knows
	now  string
}

// findRenamed returns the files of the image in imageDir whose names are gone, and that have
// another name in the same directory: a log is rotated in that way.
func findRenamed(imageDir string) (renamed []renamedFile, err error) {
	text, err := os.ReadFile(filepath.Join(imageDir, namesFile))
	if errors.Is(err, fs.ErrNotExist) { // an image of an older host
		return nil, nil
	}
	var names []procfs.NamedFile
	if err == nil {
		err = json.Unmarshal(text, &names)
	}
	for _, was := range names {
		if _, exists := fileAt(was.Path); exists {
			continue
		}
		f := file{was.Device, was.Inode}
		if now := f.nameIn(filepath.Dir(was.Path)); now != "" {
			renamed = append(renamed, renamedFile{f, was.Path, now})
		}
	}
	return renamed, err
}

// nameIn returns the path of the file in the directory, "" if the file is not there.
func (f file) nameIn(dir string) string {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := entry.Info(); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if now, exists := fileAt(path); exists && now == f {
			return path
		}
	}
	return ""
}

// nameAgain gives the file the name that the tree knows, for the time of a restore.
func (r renamedFile) nameAgain() error {
	return unix.Link(r.now, r.Path)
}

// loseAgain takes that name away.
func (r renamedFile) loseAgain() { r.removeIf(r.Path) }
