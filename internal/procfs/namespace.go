package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Namespace returns the namespace of that kind that the process is in, such as
// "net:[4026531840]" for "net". It returns "" when the kernel has no namespaces of that
// kind, or the process is gone.
func Namespace(pid int, kind string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	return target
}

// MountIDs returns the set of the IDs of the mounts in the mount namespace of the process,
// see proc_pid_mountinfo(5). The set is empty when the process is gone.
func MountIDs(pid int) map[uint64]bool {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	mounts := make(map[uint64]bool)
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(line, " ")
		if id, err := strconv.ParseUint(number, 10, 64); err == nil {
			mounts[id] = true
		}
	}
	return mounts
}
