package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PSS returns the proportional set size of the processes together, in bytes.
func PSS(pids []int) int64 { return sumMemoryFields(pids, "smaps_rollup", "Pss:") }

// RSS returns the resident set size of the processes together, in bytes. It takes less time
// than PSS, but counts a page once for each process that shares the page.
func RSS(pids []int) int64 { return sumMemoryFields(pids, "status", "VmRSS:") }

// UnbackedBytes returns how much memory of the processes, resident or in the swap, has
// contents that are in no file on disk.
func UnbackedBytes(pids []int) int64 {
	return sumMemoryFields(pids, "smaps_rollup", "Anonymous:", "Pss_Shmem:", "Swap:")
}

// ResidentAnonymousBytes returns how much resident memory of the processes belongs to no
// file.
func ResidentAnonymousBytes(pids []int) int64 {
	return sumMemoryFields(pids, "smaps_rollup", "Anonymous:")
}

// SwappedBytes returns how much memory of the processes is in the swap.
func SwappedBytes(pids []int) int64 { return sumMemoryFields(pids, "smaps_rollup", "Swap:") }

// MemoryUsage is the memory that a group of processes uses.
type MemoryUsage struct {
	// Processes is the number of living processes.
	Processes int
	// Resident is the proportional set size, Shared its part that is not anonymous,
	// Virtual the size of the address spaces; all in bytes.
	Resident, Shared, Virtual int64
}

// MeasureMemory returns the memory usage of the processes, without those that have ended.
func MeasureMemory(pids []int) MemoryUsage {
	var u MemoryUsage
	for _, pid := range pids {
		virtual := sumMemoryFields([]int{pid}, "status", "VmSize:")
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil || virtual == 0 { // a zombie has no memory
			continue
		}
		u.Processes++
		u.Virtual += virtual
		u.Resident += memoryFieldBytes(string(rollup), "Pss:")
		u.Shared += memoryFieldBytes(string(rollup), "Pss_File:") + memoryFieldBytes(string(rollup), "Pss_Shmem:")
	}
	return u
}

// sumMemoryFields returns the sum, in bytes, of the values that the keys have in the file of
// that name in /proc/<pid> of each process. A process that has ended or that this process
// may not read adds nothing.
func sumMemoryFields(pids []int, file string, keys ...string) (total int64) {
	for _, pid := range pids {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		for _, key := range keys {
			total += memoryFieldBytes(string(text), key)
		}
	}
	return total
}

// memoryFieldBytes returns the value of the key in bytes, 0 when the key is missing. The
// text is a file of /proc/<pid> and has the value in KiB.
func memoryFieldBytes(text, key string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
