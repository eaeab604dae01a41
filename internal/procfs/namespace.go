package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Namespace is the namespace of that name that the process is in, such as
// "net:[4026531840]", empty when the kernel knows none.
func Namespace(pid int, name string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	return target
}

// Mounts returns the numbers of the mounts that the process sees.
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
