package criu

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// mountPoint is a directory that CRIU creates for a moment in the current directory of
// a process whose PID namespace is not the one that /proc shows. The dump fails if it
// exists already, because of another CRIU, or because a CRIU was killed.
const mountPoint = "proc.crtools"

// treeCwds returns the current directories of all processes of the tree below the root.
func treeCwds(rootPID int) (dirs []string) {
	for _, pid := range procfs.Tree(rootPID) {
		if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// removeMountPoints removes each mountPoint that was left in one of the directories.
func removeMountPoints(dirs []string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(filepath.Join(dir, mountPoint)) // fails if it is a file or not empty: then it is not of CRIU
	}
}
