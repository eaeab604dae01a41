package obstacles

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// findMappingObstacles finds mappings of the process that CRIU cannot dump, as far as their
// names tell.
func findMappingObstacles(pid int, found *findings) {
	mappings, _ := procfs.Mappings(pid) // none if the process has ended
	seen := make(map[string]bool)
	for _, m := range mappings {
		if !seen[m.Name] {
			seen[m.Name] = true
			kind, detail := classifyMapping(m)
			found.lookAtProcess(pid, kind, detail)
		}
	}
}

// findMappingObstaclesByFlags finds mappings that CRIU cannot dump, or would restore
// changed, by the flags that the kernel has for them.
func findMappingObstaclesByFlags(processes []treeProcess, found *findings) error {
	for _, p := range processes {
		mappings, err := procfs.MappingsWithFlags(p.tids[0])
		if err != nil {
			return fmt.Errorf("cannot read which memory is sealed or of a rare kind: %w", err)
		}
		for _, m := range mappings {
			if m.IsMadeByKernel() {
				continue
			}
			if m.IsSealedByProgram() {
				found.lookAtProcess(p.pid, "sealed", "")
			}
			if m.Key != "" {
				found.lookAtProcess(p.pid, "memory with a protection key", ", "+m.Key)
			}
			for _, flag := range m.Flags {
				if !slices.Contains(knownFlags, flag) {
					found.lookAtProcess(p.pid, "memory with the flag "+kinds.Kind(flag), "")
				}
			}
		}
	}
	return nil
}

// knownFlags are the flags of mappings that come back, are refused by another name, or
// mean nothing to a program, see VmFlags in proc_pid_smaps(5).
var knownFlags = strings.Fields("rd wr ex sh mr mw me ms gd pf dw lo io sr rr dc de ac nr ht sf ar wf dd sd mm hg nh mg bt gu nt dp lf sl")

// mappingKinds are the kinds of mappings by the beginnings of their names. The first that
// fits counts.
var mappingKinds = []struct {
	name string
	kind kinds.Kind
}{
	{"/SYSV", "sysv-shm"},
	{"/secretmem", "secret-memory-mapped"},
	{"/anon_hugepage", "huge"},
	{"/[aio]", "aio"},
	{"/dev/zero (deleted)", "anonymous-shared"},
	{"/memfd:", "memfd"},
	{"anon_inode:", "device-mapping"},
	{"socket:[", "packet"}, // a ring
	{"[heap]", "anonymous"},
	{"[stack", "anonymous"},
	{"[anon", "anonymous"},
}

// classifyMapping returns the kind of the mapping, and a detail that follows the name of the
// kind in an error.
func classifyMapping(m procfs.Mapping) (kind kinds.Kind, detail string) {
	if m.Name == "" {
		return "anonymous", ""
	}
	for _, k := range mappingKinds {
		if strings.HasPrefix(m.Name, k.name) {
			return k.kind, ", " + m.Name
		}
	}
	switch {
	case m.IsMadeByKernel() && m.Name != "[uprobes]":
		return "kernel-memory", ""
	case isDeviceFile(m.Name):
		return "device-mapping", ", " + m.Name
	case strings.HasPrefix(m.Name, "/"):
		return "file-mapping", ""
	}
	return "memory " + kinds.Kind(m.Name), ""
}

// isDeviceFile reports whether the mapped path is a device. /dev/zero is memory.
func isDeviceFile(path string) bool {
	if !strings.HasPrefix(path, "/dev/") || path == "/dev/zero" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeDevice != 0
}
