package outside

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/images"
)

// Attempt is one restore of an image, and what it may leave outside of the image.
type Attempt struct {
	trace  attemptTrace
	note   string // the path of the note of trace, "" if there is none
	unlock func()
}

// attemptTrace says what is to be undone after an attempt.
type attemptTrace struct {
	Names   []nameBefore   `json:"names"`
	Renamed []renamedFile  `json:"renamed"`
	Sockets []socketBefore `json:"sockets"`
}

// nameBefore is a remap as it was before the attempt.
type nameBefore struct {
	images.Remap
	Kept string `json:"kept"` // the path of the link while the tree sleeps
	// Existed and FakeExisted say that there was a file of that name, or of that name with
	// fakeSuffix.
	Existed, FakeExisted bool
	MissingDirs          []string // on the way to the name, the deepest first
	// Mode, UID and GID are those of a directory that existed.
	Mode     uint32
	UID, GID int
}

// socketBefore is a socket as it was before the attempt.
type socketBefore struct {
	images.Socket
	Existed     bool
	Mode        uint32
	UID, GID    int
	MissingDirs []string
}

// Begin prepares a restore of the image in imageDir: it puts back the links that the dump has
// made, removes what an earlier attempt has left, and notes in noteDir what this one may leave.
// It fails if another process has the path of a socket. The caller must call Succeed or Undo.
func Begin(ctx context.Context, imageDir, imageID, noteDir string) (*Attempt, error) {
	needs, err := images.ReadOutside(imageDir)
	if err != nil {
		return nil, err
	}
	a := &Attempt{}
	if a.trace.Renamed, err = findRenamed(imageDir); err != nil {
		return nil, err
	}
	if a.unlock, err = a.lockAround(ctx, needs.Remaps); err != nil {
		return nil, err
	}
	if err := a.prepare(needs, imageID, noteDir); err != nil {
		a.Undo()
		return nil, err
	}
	return a, nil
}

// lockAround locks the directories in which a restore makes names.
func (a *Attempt) lockAround(ctx context.Context, remaps []images.Remap) (release func(), err error) {
	var dirs []string
	for _, r := range remaps {
		dirs = append(dirs, nearestDir(r.Path))
		if r.Link != "" {
			dirs = append(dirs, nearestDir(r.Link))
		}
	}
	for _, r := range a.trace.Renamed {
		dirs = append(dirs, filepath.Dir(r.Path))
	}
	return LockDirs(ctx, dirs)
}

// prepare does the work of Begin. After an error the caller must call Undo.
func (a *Attempt) prepare(needs images.Outside, imageID, noteDir string) (err error) {
	for _, r := range needs.Remaps {
		removeGhost(r)
		a.noteRemap(r, imageID)
	}
	for _, s := range needs.Sockets {
		if err := a.noteSocket(s); err != nil {
			return err
		}
	}
	if a.needsNote() {
		if a.note, err = writeNote(noteDir, note{Attempt: &a.trace}); err != nil {
			return err
		}
	}
	for _, n := range a.trace.Names {
		if err := n.putLinkBack(); err != nil {
			return err
		}
	}
	for _, r := range a.trace.Renamed {
		if err := r.nameAgain(); err != nil {
			return fmt.Errorf("cannot open %s, which is %s now: %w", r.Path, r.now, err)
		}
	}
	return nil
}

// needsNote reports whether the attempt may leave something that the next attempt would not
// replace.
func (a *Attempt) needsNote() bool {
	for _, s := range a.trace.Sockets {
		if s.IsDeleted {
			return true
		}
	}
	return len(a.trace.Names)+len(a.trace.Renamed) > 0
}

// noteRemap adds the remap, as it is now.
func (a *Attempt) noteRemap(r images.Remap, imageID string) {
	n := nameBefore{Remap: r, MissingDirs: missingDirs(r.Path)}
	if r.Link != "" {
		n.Kept = keptPath(r.Link, imageID)
	}
	_, n.Existed = fileAt(r.Path)
	_, n.FakeExisted = fileAt(r.Path + fakeSuffix)
	var st unix.Stat_t
	if r.IsDir && n.Existed && unix.Lstat(r.Path, &st) == nil {
		n.Mode, n.UID, n.GID = st.Mode, int(st.Uid), int(st.Gid)
	}
	a.trace.Names = append(a.trace.Names, n)
}

// noteSocket adds the socket, as it is now. It fails if CRIU would take the path from another
// process.
func (a *Attempt) noteSocket(s images.Socket) error {
	before := socketBefore{Socket: s, MissingDirs: missingDirs(s.Path)}
	var st unix.Stat_t
	if unix.Lstat(s.Path, &st) == nil {
		isSocket := st.Mode&unix.S_IFMT == unix.S_IFSOCK
		switch {
		case s.IsDeleted: // CRIU moves it out of the way and back
		case !isSocket:
			return fmt.Errorf("the address of a unix socket is taken: %s is another kind of file now", s.Path)
		case isSocketOfProcess(s.Path):
			return fmt.Errorf("the address of a unix socket is taken: another process uses %s", s.Path)
		}
		before.Existed, before.Mode, before.UID, before.GID = true, st.Mode, int(st.Uid), int(st.Gid)
	}
	a.trace.Sockets = append(a.trace.Sockets, before)
	return nil
}

// Succeed ends an attempt after which the restored tree is to run.
func (a *Attempt) Succeed() {
	for _, n := range a.trace.Names {
		n.putDirBack()
	}
	for _, r := range a.trace.Renamed {
		r.loseAgain()
	}
	a.end()
}

// Undo ends an attempt that has failed: it removes what the attempt has left, and puts back
// what the attempt has removed. No process of the attempt may run any more.
func (a *Attempt) Undo() {
	a.trace.undo()
	a.end()
}

// end removes the note and the locks.
func (a *Attempt) end() {
	removeNote(a.note)
	a.unlock()
}

// undo removes what the attempt has left and puts back what the attempt has removed.
func (t *attemptTrace) undo() {
	for _, n := range t.Names {
		n.undo()
	}
	for _, r := range t.Renamed {
		r.loseAgain()
	}
	for _, s := range t.Sockets {
		s.undo()
	}
}

// putLinkBack makes the link under the name that CRIU looks for. The link under its other
// name stays until the image is used.
func (n nameBefore) putLinkBack() error {
	if n.Link == "" {
		return nil
	}
	err := os.Link(n.Kept, n.Link)
	if errors.Is(err, fs.ErrNotExist) { // an image that was made without an ID
		err = os.Link(n.Link, n.Kept)
	}
	kept, exists := fileAt(n.Kept)
	if now, there := fileAt(n.Link); exists && there && now == kept {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot get at the file that was %s: %w", n.Path, err)
	}
	return nil
}

// undo removes the names that an attempt has left.
func (n nameBefore) undo() {
	if n.Link != "" {
		if kept, exists := fileAt(n.Kept); exists {
			if !n.Existed {
				kept.removeIf(n.Path)
			}
			if !n.FakeExisted {
				kept.removeIf(n.Path + fakeSuffix)
			}
			kept.removeIf(n.Link)
		}
	}
	removeGhost(n.Remap)
	if n.IsDir && !n.Existed {
		_ = unix.Rmdir(n.Path)
	}
	n.putDirBack()
	removeDirs(n.MissingDirs)
}

// putDirBack makes a directory of another program again, which a restore has used for a
// moment and removed.
func (n nameBefore) putDirBack() {
	if n.Mode == 0 || os.Mkdir(n.Path, 0o700) != nil {
		return
	}
	_ = os.Chown(n.Path, n.UID, n.GID)
	_ = unix.Chmod(n.Path, n.Mode&^unix.S_IFMT)
}

// removeGhost removes the names of a file that an attempt has made from its contents in the
// image.
func removeGhost(r images.Remap) {
	if r.Link != "" || r.IsDir {
		return
	}
	for _, path := range ghostPaths(r) {
		if ghost, exists := fileAt(path); exists {
			ghost.removeIf(r.Path)
			ghost.removeIf(r.Path + fakeSuffix)
			_ = os.Remove(path)
		}
	}
}

// undo removes or puts back the path of the socket.
func (s socketBefore) undo() {
	parked := s.Path + parkedSuffix
	if _, exists := fileAt(parked); exists && s.IsDeleted {
		_ = os.Rename(parked, s.Path)
	}
	var st unix.Stat_t
	exists := unix.Lstat(s.Path, &st) == nil
	switch {
	case !s.Existed && exists && st.Mode&unix.S_IFMT == unix.S_IFSOCK && !isSocketOfProcess(s.Path):
		_ = os.Remove(s.Path)
	case s.Existed && !exists && !s.IsDeleted: // as it was: a socket without a process
		if unix.Mknod(s.Path, s.Mode, 0) == nil {
			_ = os.Chown(s.Path, s.UID, s.GID)
			_ = unix.Chmod(s.Path, s.Mode&^unix.S_IFMT)
		}
	}
	removeDirs(s.MissingDirs)
}

// removeDirs removes those of the directories that are empty.
func removeDirs(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
