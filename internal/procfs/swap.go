package procfs

import (
	"bytes"
	"os"
)

// MachineHasSwap reports whether the machine has any swap space, see proc_swaps(5).
func MachineHasSwap() (bool, error) {
	swaps, err := os.ReadFile("/proc/swaps") // a heading, then one line for each swap space
	return bytes.Count(swaps, []byte("\n")) > 1, err
}
