package memory

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// limitedCgroup is a cgroup with a limit of memory. The memory that its processes use does
// not include files that the kernel can drop at once.
type limitedCgroup struct{ limit, used int64 }

// hierarchy says where a version of cgroups has its memory figures, see
// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel.
type hierarchy struct {
	fsType, limit, used, droppable string
}

var hierarchies = []hierarchy{
	{"cgroup2", "memory.max", "memory.current", "inactive_file"},
	{"cgroup", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// limitedCgroups returns the cgroups that this process is in, and those above, as far as
// they have limits and can be read.
func limitedCgroups() (all []limitedCgroup) {
	for _, h := range hierarchies {
		root, own := h.find()
		for dir := own; root != "" && strings.HasPrefix(dir, root); dir = filepath.Dir(dir) {
			if g, ok := h.read(dir); ok {
				all = append(all, g)
			}
		}
	}
	return all
}

// find returns where the hierarchy is mounted, and the directory there of the cgroup that
// this process is in. Both are empty if it is not mounted.
func (h hierarchy) find() (root, own string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		head, tail, _ := strings.Cut(line, " - ") // see proc_pid_mountinfo(5)
		fields, kind := strings.Fields(head), strings.Fields(tail)
		if len(fields) < 5 || len(kind) < 3 || kind[0] != h.fsType {
			continue
		}
		if h.fsType == "cgroup" && !slices.Contains(strings.Split(kind[2], ","), "memory") {
			continue
		}
		path, found := strings.CutPrefix(h.ownPath(), fields[3])
		if fields[3] == "/" {
			path, found = h.ownPath(), true
		}
		if found {
			return fields[4], filepath.Join(fields[4], path)
		}
	}
	return "", ""
}

// ownPath returns the path of this process's cgroup in the hierarchy, see cgroups(7).
func (h hierarchy) ownPath() string {
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if h.fsType == "cgroup2" && parts[1] == "" || h.fsType == "cgroup" && slices.Contains(strings.Split(parts[1], ","), "memory") {
			return parts[2]
		}
	}
	return ""
}

// read returns the limit and the use of the cgroup; ok is false if it has no limit.
func (h hierarchy) read(dir string) (g limitedCgroup, ok bool) {
	limit, ok := readNumber(filepath.Join(dir, h.limit))
	if !ok || limit > 1<<60 { // v1 writes "no limit" as a number near the largest
		return g, false
	}
	used, ok := readNumber(filepath.Join(dir, h.used))
	if !ok {
		return g, false
	}
	stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
	for line := range strings.Lines(string(stat)) {
		if value, found := strings.CutPrefix(line, h.droppable+" "); found {
			droppable, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			used = max(0, used-droppable)
		}
	}
	return limitedCgroup{limit, used}, true
}

// readNumber returns the number in the file; ok is false if the file has none, such as
// "max".
func readNumber(path string) (n int64, ok bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
