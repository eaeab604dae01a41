package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
)

// TrashTime is how long what was deleted can be restored.
const TrashTime = 7 * 24 * time.Hour

// Trashed is one file or directory in the trash.
type Trashed struct {
	// ID is its name in the trash.
	ID    string
	Label string
	At    time.Time
	Path  string
}

// Trash moves a file or directory into the trash, durably. label says what it is, without a
// slash. What lies on another file system can't be moved: the error says so.
func (d *Dirs) Trash(path, label string) error {
	var to string
	err := error(unix.EEXIST)
	for at := time.Now().UnixNano(); errors.Is(err, unix.EEXIST); at++ {
		to = filepath.Join(d.root, trashName, strconv.FormatInt(at, 10)+"-"+filepath.Base(label))
		err = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return fmt.Errorf("cannot move %s to the trash: %w", path, err)
	}
	return errors.Join(atomicfile.SyncDir(filepath.Dir(to)), atomicfile.SyncDir(filepath.Dir(path)))
}

// Trashed returns what is in the trash, oldest first.
func (d *Dirs) Trashed() (all []Trashed, err error) {
	dir := filepath.Join(d.root, trashName)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		number, label, ok := strings.Cut(e.Name(), "-")
		nanoseconds, err := strconv.ParseInt(number, 10, 64)
		if ok && err == nil {
			all = append(all, Trashed{e.Name(), label, time.Unix(0, nanoseconds).UTC(), filepath.Join(dir, e.Name())})
		}
	}
	return all, err
}

// EmptyTrash removes what has been in the trash for longer than TrashTime.
func (d *Dirs) EmptyTrash(now time.Time) error {
	all, err := d.Trashed()
	for _, t := range all {
		if now.Sub(t.At) > TrashTime {
			err = errors.Join(err, ownedtree.Remove(t.Path))
		}
	}
	return err
}
