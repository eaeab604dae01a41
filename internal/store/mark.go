package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dormouse/internal/atomicfile"
	"dormouse/internal/failpoint"
	"dormouse/internal/regularfile"
)

// markSuffix is that of the file that says that the store is damaged, until it is rebuilt.
const markSuffix = "-damaged"

// mark is what that file says.
type mark struct {
	Why  string `json:"why"`
	Kept string `json:"kept,omitempty"` // the name that the damaged file gets; empty before it is known
}

// readMark returns the mark beside the file at path. A mark that can't be read says that the
// file is damaged.
func readMark(path string) (m mark, found bool, err error) {
	text, err := regularfile.Read(path+markSuffix, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		m = mark{Why: "it was found damaged"}
	}
	return m, true, nil
}

// write puts the mark beside the file at path.
func (m mark) write(path string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.Write(path+markSuffix, append(text, '\n'), 0o600)
}

// isDone reports whether the file at path is the one that was made in place of the damaged
// one.
func (m mark) isDone(path string) bool {
	if m.Kept == "" {
		return false
	}
	if _, err := os.Lstat(m.Kept); err != nil {
		return false
	}
	return !isSameFile(path, m.Kept)
}

// logOf returns where the log of the damaged file is: beside it, or, after a crash, with the
// kept one.
func (m mark) logOf(path string) string {
	if _, err := os.Lstat(path + walSuffix); errors.Is(err, fs.ErrNotExist) && m.Kept != "" {
		return m.Kept + walSuffix
	}
	return path + walSuffix
}

// replaceDamaged lets the file that was made take the place of the damaged one, which is kept
// with its log. After a crash at any point the mark says how far it was.
func (m mark) replaceDamaged(path string) error {
	if err := os.Link(path, m.Kept); err != nil && !isSameFile(path, m.Kept) {
		return fmt.Errorf("cannot keep the damaged file: %w", err)
	}
	failpoint.Hit("store.kept")
	if err := os.Rename(path+walSuffix, m.Kept+walSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(path + shmSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := atomicfile.SyncDir(filepath.Dir(path)); err != nil {
		return err
	}
	failpoint.Hit("store.logkept")
	if err := os.Rename(path+newSuffix, path); err != nil {
		return err
	}
	failpoint.Hit("store.renamed")
	return atomicfile.SyncDir(filepath.Dir(path))
}

// removeMark removes the mark.
func removeMark(path string) error {
	err := os.Remove(path + markSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, atomicfile.SyncDir(filepath.Dir(path)))
}
