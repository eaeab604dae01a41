package obstacles

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/bytesize"
	"dormouse/internal/procfs"
)

// findOvercommitted finds private mappings that the kernel would not give CRIU at the wake.
// CRIU maps everything writable first, also what the program only reserves; unless told to,
// the kernel allows no such mapping that is larger than all memory and swap, see
// vm.overcommit_memory in Documentation/admin-guide/sysctl/vm.rst of the kernel.
func findOvercommitted(treePIDs []int, found *findings) {
	largest := LargestWritableMapping()
	if largest == 0 {
		return
	}
	for _, pid := range treePIDs {
		if size := procfs.PrivateMappingLargerThan(pid, largest); size > 0 {
			found.lookAtProcess(pid, "overcommitted", ", "+bytesize.Format(size))
		}
	}
}

// LargestWritableMapping returns how many bytes a private writable mapping may have here, 0
// for any number.
func LargestWritableMapping() int64 {
	mode, err := os.ReadFile("/proc/sys/vm/overcommit_memory")
	if err != nil || strings.TrimSpace(string(mode)) != "0" {
		return 0
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram+info.Totalswap) * int64(info.Unit) //nolint:gosec // no machine has so much
}
