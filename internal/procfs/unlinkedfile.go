package procfs

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// UnlinkedFile is a file that lost the name by which a process opened or mapped it, and that
// has another name still.
type UnlinkedFile struct {
	Path          string // the lost name
	Device, Inode uint64
}

// deletedSuffix ends what a link in /proc/<pid> leads to if the name is lost.
const deletedSuffix = " (deleted)"

// UnlinkedFiles returns the files that the processes have open, mapped or execute under names
// that are lost, each path once, without those that have no other name.
func UnlinkedFiles(pids []int) (files []UnlinkedFile) {
	for _, pid := range pids {
		for _, d := range Descriptors(pid) {
			files = appendIfUnlinked(files, d.Target, d.path())
		}
		mappings, _ := readMappings(pid, "maps")
		for _, m := range mappings {
			files = appendIfUnlinked(files, m.Name, fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Start, m.End))
		}
	}
	return files
}

// appendIfUnlinked adds the file with the name to files, if it belongs there. It is found at
// the path in /proc.
func appendIfUnlinked(files []UnlinkedFile, name, procPath string) []UnlinkedFile {
	path, isLost := strings.CutSuffix(name, deletedSuffix)
	if !isLost || !strings.HasPrefix(path, "/") {
		return files
	}
	var st unix.Stat_t
	if unix.Stat(procPath, &st) != nil || st.Nlink == 0 {
		return files
	}
	f := UnlinkedFile{path, st.Dev, st.Ino}
	if slices.Contains(files, f) {
		return files
	}
	return append(files, f)
}
