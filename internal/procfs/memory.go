package procfs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// PSS returns the proportional set size of the processes together, in bytes.
// A process that has ended or may not be read counts nothing.
func PSS(pids []int) int64 {
	return sumFields(pids, "smaps_rollup", "Pss:")
}

// Unbacked is the memory of the processes, swapped out or not, that no file has
// the contents of.
func UnbackedBytes(pids []int) (total int64) {
	for _, key := range []string{"Anonymous:", "Pss_Shmem:", "Swap:"} {
		total += sumFields(pids, "smaps_rollup", key)
	}
	return total
}

// RSS returns the resident set size of the processes together, in bytes; it is
// cheaper than PSS and counts shared pages more than once.
func RSS(pids []int) int64 {
	return sumFields(pids, "status", "VmRSS:")
}

// Anonymous returns how much memory of the processes is resident that no file
// holds, in bytes, and Swapped how much of it is in the swap.
func AnonymousBytes(pids []int) int64 { return sumFields(pids, "smaps_rollup", "Anonymous:") }

// Swapped is described at Anonymous.
func SwappedBytes(pids []int) int64 { return sumFields(pids, "smaps_rollup", "Swap:") }

// Usage is what some processes take together.
type Usage struct {
	// Processes is how many of them live.
	Processes int
	// Resident, Shared and Virtual are bytes: the proportional set size, the part
	// of it that is not anonymous, and the address space.
	Resident, Shared, Virtual int64
}

// Measure reads what the processes take; one that has ended counts nothing.
func Measure(pids []int) Usage {
	var u Usage
	page := int64(os.Getpagesize())
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if err != nil {
			continue
		}
		var pages int64
		if _, err := fmt.Sscan(string(text), &pages); err != nil || pages == 0 { // a zombie has none
			continue
		}
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		u.Processes++
		u.Virtual += pages * page
		u.Resident += kibField(string(rollup), "Pss:")
		u.Shared += kibField(string(rollup), "Pss_File:") + kibField(string(rollup), "Pss_Shmem:")
	}
	return u
}

func sumFields(pids []int, file, key string) int64 {
	var total int64
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			continue
		}
		total += kibField(string(text), key)
	}
	return total
}

// kib is the value of that key in bytes, which the text tells in KiB; 0 when it
// has none.
func kibField(text, key string) int64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}
