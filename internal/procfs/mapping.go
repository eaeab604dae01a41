package procfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mapping is a range of the memory of a process, from start up to end.
type mapping struct {
	start, end uint64
	access     string // such as "rw-p"; the last letter is "s" for shared memory
	inode      string // "0" without a file
	name       string // a path, or a name in brackets, or ""
	flags      []string
}

// readMappings returns the mappings of a process, nil when the process has ended, from
// its file "maps", or "smaps", which has the flags also.
func readMappings(pid int, mapsOrSmaps string) ([]mapping, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, mapsOrSmaps))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseMappings(string(text))
}

// parseMappings returns the mappings in the text of a file maps or smaps.
func parseMappings(text string) (all []mapping, err error) {
	for line := range strings.Lines(text) {
		switch flags, hasFlags := strings.CutPrefix(line, "VmFlags:"); {
		case hasFlags && len(all) > 0:
			all[len(all)-1].flags = strings.Fields(flags)
		case line[0] < 'A' || line[0] > 'Z': // address access offset device inode name
			m := mapping{name: strings.TrimSuffix(skipFields(line, 5), "\n")}
			if _, err := fmt.Sscanf(line, "%x-%x %s %s %s %s", &m.start, &m.end, &m.access, new(string), new(string), &m.inode); err != nil {
				return nil, fmt.Errorf("cannot understand the mapping %q: %w", line, err)
			}
			all = append(all, m)
		}
	}
	return all, nil
}

// ExecutedFiles returns the paths of the regular files that the processes execute from,
// sorted, each once: files that are mapped as executable, and scripts. It leaves out deleted
// files and devices.
func ExecutedFiles(pids []int) (paths []string, err error) {
	for _, pid := range pids {
		mappings, err := readMappings(pid, "maps")
		if err != nil {
			return nil, err
		}
		for _, m := range mappings {
			if m.isNamedFile() && strings.Contains(m.access, "x") {
				paths = append(paths, m.name)
			}
		}
		if script := ScriptOf(pid); script != "" {
			paths = append(paths, script)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// isNamedFile reports whether the mapping is of a regular file that has its name still.
func (m mapping) isNamedFile() bool {
	return m.inode != "0" && strings.HasPrefix(m.name, "/") && !strings.HasSuffix(m.name, " (deleted)") &&
		!strings.HasPrefix(m.name, "/memfd:") && !strings.HasPrefix(m.name, "/dev/")
}

// MappingNames returns the names of the mappings of the process, sorted, each once:
// paths, and names in brackets such as "[vdso]". It returns nil when the process has ended.
func MappingNames(pid int) (names []string) {
	mappings, _ := readMappings(pid, "maps")
	for _, m := range mappings {
		if m.name != "" {
			names = append(names, m.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// DeletedFilesMapped returns the bytes that each deleted file occupies on its disk which the
// process has mapped, by its path. It leaves out what never had a name, such as a memfd.
func DeletedFilesMapped(pid int) map[string]int64 {
	mappings, _ := readMappings(pid, "maps")
	var sizes map[string]int64
	for _, m := range mappings {
		path, isDeleted := strings.CutSuffix(m.name, " (deleted)")
		if !isDeleted || path == "/dev/zero" || strings.HasPrefix(path, "/memfd:") || strings.HasPrefix(path, "/SYSV") {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.start, m.end), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if sizes == nil {
			sizes = make(map[string]int64)
		}
		sizes[path] = st.Blocks * 512
	}
	return sizes
}

// PrivateMappingLargerThan returns the size in bytes of a private mapping of the process that
// is larger than limit and not MAP_NORESERVE, 0 if there is none.
func PrivateMappingLargerThan(pid int, limit int64) (size int64) {
	isLarge := func(m mapping) bool {
		return strings.HasSuffix(m.access, "p") && int64(m.end-m.start) > limit //nolint:gosec // no process has half of all addresses
	}
	mappings, _ := readMappings(pid, "maps")
	if !slices.ContainsFunc(mappings, isLarge) {
		return 0
	}
	mappings, _ = readMappings(pid, "smaps") // takes much longer
	for _, m := range mappings {
		if isLarge(m) && !slices.Contains(m.flags, "nr") {
			return int64(m.end - m.start) //nolint:gosec // as above
		}
	}
	return 0
}

// SharedFileMappedAt returns the path of the file that the process has mapped as shared
// at that address, "" if none is mapped there or the file is deleted.
func SharedFileMappedAt(pid int, address uint64) string {
	mappings, _ := readMappings(pid, "maps")
	for _, m := range mappings {
		if address < m.start || m.end <= address || !strings.HasSuffix(m.access, "s") {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.start, m.end), &st); err == nil && st.Nlink > 0 {
			return m.name
		}
	}
	return ""
}

// skipFields returns the line after its first n fields. The rest may be a path with
// spaces.
func skipFields(line string, n int) string {
	for range n {
		_, line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	}
	return strings.TrimLeft(line, " ")
}
