// Package outside puts right what CRIU does to files that are not the image's. For a file
// that a tree has open under a name that is gone, a dump makes a hard link and a restore makes
// the name; a restore also removes the paths of unix sockets and binds the sockets again. What
// a dump or restore that failed or was killed has left there is removed, and what it took away
// is put back, so that the next attempt finds all as the first one did. The package does not
// know how CRIU is run.
package outside

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/images"
)

const (
	// linkPrefix begins the names of the links that a dump makes, before a number.
	linkPrefix = "link_remap."
	// keptPrefix begins the names of the links while the tree sleeps, before the image's ID.
	keptPrefix = ".dormouse-"
	// fakeSuffix ends the name that a restore makes if the file's own name is taken.
	fakeSuffix = ".cr_link"
	// parkedSuffix ends the name of a socket that a restore has moved out of its way.
	parkedSuffix = ".criu-sk-ghost"
)

// keptPath returns the path of a link while the tree sleeps: beside it, under a name that no
// other image uses. CRIU numbers the links of each dump from the start.
func keptPath(link, imageID string) string {
	return filepath.Join(filepath.Dir(link), keptPrefix+imageID+"-"+filepath.Base(link))
}

// ghostPaths returns the paths at which a restore may have made a file from its contents in
// the image: beside its name, or in the next directory upwards that exists.
func ghostPaths(r images.Remap) (paths []string) {
	name := fmt.Sprintf("%s.cr.%x.ghost", filepath.Base(r.Path), r.Ghost)
	for dir := filepath.Dir(r.Path); ; dir = filepath.Dir(dir) {
		paths = append(paths, filepath.Join(dir, name))
		if dir == "/" {
			return paths
		}
	}
}

// file identifies a file on a file system.
type file struct{ Device, Inode uint64 }

// fileAt returns the file at path, without following a symbolic link, and whether there is
// one.
func fileAt(path string) (f file, exists bool) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return file{}, false
	}
	return file{st.Dev, st.Ino}, true
}

// removeIf removes the path if it leads to the file.
func (f file) removeIf(path string) {
	if now, exists := fileAt(path); exists && now == f {
		_ = os.Remove(path)
	}
}

// missingDirs returns which directories on the way to path do not exist, the deepest first.
func missingDirs(path string) (missing []string) {
	for dir := filepath.Dir(path); dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, exists := fileAt(dir); exists {
			break
		}
		missing = append(missing, dir)
	}
	return missing
}

// nearestDir returns the deepest directory on the way to path that exists.
func nearestDir(path string) string {
	dir := filepath.Dir(path)
	if missing := missingDirs(path); len(missing) > 0 {
		dir = filepath.Dir(missing[len(missing)-1])
	}
	return dir
}

// isSocketOfProcess reports whether a process has the socket at path. It disturbs no process:
// a socket of another type can't connect, and one of the same type sends nothing.
func isSocketOfProcess(path string) bool {
	at, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(at) //nolint:errcheck // nothing was written
	probe, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(probe) //nolint:errcheck // the same
	err = unix.Connect(probe, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", at)})
	return err != unix.ECONNREFUSED && err != unix.ENOENT
}
