package procfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mapping is a range of the memory of a process, from Start up to End.
type Mapping struct {
	Start, End uint64
	Access     string // such as "rw-p"; the last letter is "s" for shared memory
	Inode      string // "0" without a file
	Name       string // a path, or a name in brackets, or ""
	// Flags are two letters each, see VmFlags in proc_pid_smaps(5), and Key is the
	// protection key, "" for none. Both are known only from MappingsWithFlags.
	Flags []string
	Key   string
}

// Mappings returns the mappings of a process, nil when the process has ended.
func Mappings(pid int) ([]Mapping, error) { return readMappings(pid, "maps") }

// MappingsWithFlags returns the mappings of a process with their flags, nil when the process
// has ended. It takes longer than Mappings: the kernel looks at each page.
func MappingsWithFlags(pid int) ([]Mapping, error) { return readMappings(pid, "smaps") }

// readMappings returns the mappings of a process, nil when the process has ended, from
// its file "maps", or "smaps", which has the flags also.
func readMappings(pid int, mapsOrSmaps string) ([]Mapping, error) {
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
func parseMappings(text string) (all []Mapping, err error) {
	for line := range strings.Lines(text) {
		if line[0] < 'A' || line[0] > 'Z' {
			m, err := parseMappingLine(strings.TrimSuffix(line, "\n"))
			if err != nil {
				return nil, fmt.Errorf("cannot understand the mapping %q: %w", line, err)
			}
			all = append(all, m)
			continue
		}
		if len(all) == 0 {
			continue
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok {
			all[len(all)-1].Flags = strings.Fields(flags)
		}
		if key, ok := strings.CutPrefix(line, "ProtectionKey:"); ok && strings.TrimSpace(key) != "0" {
			all[len(all)-1].Key = strings.TrimSpace(key)
		}
	}
	return all, nil
}

// parseMappingLine returns the mapping in a line of the file maps: address, access, offset,
// device, inode and name.
func parseMappingLine(line string) (m Mapping, err error) {
	address, rest, _ := strings.Cut(line, " ")
	start, end, _ := strings.Cut(address, "-")
	if m.Start, err = strconv.ParseUint(start, 16, 64); err != nil {
		return m, err
	}
	if m.End, err = strconv.ParseUint(end, 16, 64); err != nil {
		return m, err
	}
	m.Access, rest, _ = strings.Cut(rest, " ")
	_, rest, _ = strings.Cut(rest, " ")
	_, rest, _ = strings.Cut(rest, " ")
	m.Inode, rest, _ = strings.Cut(rest, " ")
	m.Name = strings.TrimLeft(rest, " ")
	return m, nil
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
			if m.isNamedFile() && strings.Contains(m.Access, "x") {
				paths = append(paths, m.Name)
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
func (m Mapping) isNamedFile() bool {
	return m.Inode != "0" && strings.HasPrefix(m.Name, "/") && !strings.HasSuffix(m.Name, " (deleted)") &&
		!strings.HasPrefix(m.Name, "/memfd:") && !strings.HasPrefix(m.Name, "/dev/")
}

// DeletedFilesMapped returns the bytes that each deleted file occupies on its disk which the
// process has mapped, by its path. It leaves out what never had a name, such as a memfd.
func DeletedFilesMapped(pid int) map[string]int64 {
	mappings, _ := readMappings(pid, "maps")
	var sizes map[string]int64
	for _, m := range mappings {
		path, isDeleted := strings.CutSuffix(m.Name, " (deleted)")
		if !isDeleted || path == "/dev/zero" || strings.HasPrefix(path, "/memfd:") || strings.HasPrefix(path, "/SYSV") {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Start, m.End), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
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
	isLarge := func(m Mapping) bool {
		return strings.HasSuffix(m.Access, "p") && int64(m.End-m.Start) > limit //nolint:gosec // no process has half of all addresses
	}
	mappings, _ := readMappings(pid, "maps")
	if !slices.ContainsFunc(mappings, isLarge) {
		return 0
	}
	mappings, _ = readMappings(pid, "smaps") // takes much longer
	for _, m := range mappings {
		if isLarge(m) && !slices.Contains(m.Flags, "nr") {
			return int64(m.End - m.Start) //nolint:gosec // as above
		}
	}
	return 0
}

// SharedFileMappedAt returns the path of the file that the process has mapped as shared
// at that address, "" if none is mapped there or the file is deleted.
func SharedFileMappedAt(pid int, address uint64) string {
	mappings, _ := readMappings(pid, "maps")
	for _, m := range mappings {
		if address < m.Start || m.End <= address || !strings.HasSuffix(m.Access, "s") {
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, m.Start, m.End), &st); err == nil && st.Nlink > 0 {
			return m.Name
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
