package procfs

import (
	"strings"

	"golang.org/x/sys/unix"
)

// NamedFile is a regular file and the path by which a process has it open or mapped.
type NamedFile struct {
	Path          string `json:"path"`
	Device, Inode uint64
}

// NamedFiles returns the regular files that the processes have open or mapped, each once,
// without those whose paths are lost.
func NamedFiles(pids []int) (files []NamedFile) {
	seen := make(map[string]bool)
	add := func(path, statPath string) {
		if seen[path] || !strings.HasPrefix(path, "/") || strings.HasSuffix(path, deletedSuffix) {
			return
		}
		seen[path] = true
		var st unix.Stat_t
		if unix.Stat(statPath, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink > 0 {
			files = append(files, NamedFile{path, st.Dev, st.Ino})
		}
	}
	for _, pid := range pids {
		for _, d := range Descriptors(pid) {
			add(d.Target, d.path())
		}
		mappings, _ := readMappings(pid, "maps")
		for _, m := range mappings {
			if m.isNamedFile() {
				add(m.Name, m.Name)
			}
		}
	}
	return files
}
