package procfs

import (
	"bytes"
	"os"
)

// HasSwap reports whether the kernel has a place to swap memory out to, see proc(5).
func HasSwap() (bool, error) {
	swaps, err := os.ReadFile("/proc/swaps") // one line of heading, then one for each
	return bytes.Count(swaps, []byte("\n")) > 1, err
}
