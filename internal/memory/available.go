// Package memory asks the kernel how much memory is available, and reports memory
// pressure. It does not know which processes use the memory, or how to free any.
package memory

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

const meminfoFile = "/proc/meminfo"

// AvailableBytes returns how many bytes of the machine's memory new processes can get
// without swapping, as the kernel estimates it (MemAvailable in proc_meminfo(5)).
func AvailableBytes() (available int64, err error) {
	text, err := os.ReadFile(meminfoFile)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New(meminfoFile + " does not say what is available")
}
