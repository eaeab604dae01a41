// Package memory asks the kernel how much memory there is and is available, reports memory
// pressure, and sets memory aside. It does not know which processes use the memory, or how
// to free any.
package memory

import (
	"bytes"
	"fmt"
	"os"
)

const meminfoFile = "/proc/meminfo"

// AvailableBytes returns how many bytes of memory new processes can get without swapping:
// of the machine, as the kernel estimates it (MemAvailable in proc_meminfo(5)), or of the
// cgroups that this process is in, if their limits leave less.
func AvailableBytes() (available int64, err error) {
	available, err = readMeminfo("MemAvailable")
	if err != nil {
		return 0, err
	}
	for _, g := range limitedCgroups() {
		available = min(available, max(0, g.limit-g.used))
	}
	return available, nil
}

// TotalBytes returns how many bytes of memory there are: those of the machine, or the limit of
// the cgroups that this process is in if that is less.
func TotalBytes() (total int64, err error) {
	total, err = readMeminfo("MemTotal")
	if err != nil {
		return 0, err
	}
	for _, g := range limitedCgroups() {
		total = min(total, g.limit)
	}
	return total, nil
}

// readMeminfo returns the value that the key has in proc_meminfo(5), in bytes.
func readMeminfo(key string) (value int64, err error) {
	text, err := os.ReadFile(meminfoFile)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), key+": %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("%s has no %s", meminfoFile, key)
}
