package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Namespace returns the namespace of that kind that the process is in, such as
// "net:[4026531840]", "" when the kernel has no such kind.
func Namespace(pid int, kind string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	return target
}

// MountIDs returns the IDs of the mounts that the process sees, see
// /proc/<pid>/mountinfo.
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
