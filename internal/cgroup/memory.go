package cgroup

import (
	"strconv"
	"strings"
)

// MemoryBytes returns the memory that the kernel charges to the cgroup, 0 where the
// kernel does not count it.
func (d Dir) MemoryBytes() int64 {
	bytes, _ := strconv.ParseInt(strings.TrimSpace(d.readFile("memory.current")), 10, 64)
	return bytes
}

// OOMKillCount returns how often the kernel has killed a process of the cgroup for lack
// of memory, 0 where the kernel does not count it.
func (d Dir) OOMKillCount() int {
	for line := range strings.Lines(d.readFile("memory.events")) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(count))
			return n
		}
	}
	return 0
}
