package memory

import (
	"os"
	"strconv"
	"strings"
)

// OOMKills returns how many processes the kernel has killed for want of memory since the
// machine started, also those of cgroups with limits; 0 if the kernel does not say.
func OOMKills() (n int64) {
	text, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "oom_kill "); found {
			n, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return n
}
