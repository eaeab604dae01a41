package outside

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dormouse/internal/filenames"
)

// notePrefix begins the names of the notes of dumps and restores that are under way.
const notePrefix = "outside-"

// note says what a dump or restore may leave outside of its image, for the case that it and
// its host are killed.
type note struct {
	Attempt *attemptTrace `json:"attempt,omitempty"`
	Dump    *dumpTrace    `json:"dump,omitempty"`
}

// writeNote writes the note into a new file in dir and returns the path of the file.
func writeNote(dir string, n note) (path string, err error) {
	text, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, notePrefix)
	if err != nil {
		return "", fmt.Errorf("cannot note what may be left: %w", err)
	}
	_, err = f.Write(text)
	return f.Name(), errors.Join(err, f.Close())
}

// removeNote removes the note at path, if that is not "".
func removeNote(path string) {
	if path != "" {
		_ = os.Remove(path)
	}
}

// UndoNoted undoes the dumps and restores of a killed host, from their notes in noteDir. None
// of their processes may run any more.
func UndoNoted(noteDir string) error {
	paths, err := filenames.PathsIn(noteDir, notePrefix, "")
	errs := []error{err}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var n note
		if err == nil && json.Unmarshal(text, &n) == nil { // a note that was not written whole: nothing was begun
			if n.Attempt != nil {
				n.Attempt.undo()
			}
			if n.Dump != nil {
				n.Dump.removeLinks()
			}
		}
		errs = append(errs, err, os.Remove(filepath.Clean(path)))
	}
	return errors.Join(errs...)
}
