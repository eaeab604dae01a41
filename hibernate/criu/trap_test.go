package criu_test

import (
	"os"
	"strings"
)

// trap is the end of the error when CRIU killed a tree that it restored, by a breakpoint of
// its own. CRIU does that now and then while the machine is busy.
const trap = "stopped by signal 5: Trace/breakpoint trap"

// repeatAfterTrap returns the root that restore returns. It calls restore up to twice more
// after a trap, as a host does after any passing failure.
func repeatAfterTrap(restore func() (*os.Process, error)) (root *os.Process, err error) {
	for range 3 {
		root, err = restore()
		if err == nil || !strings.Contains(err.Error(), trap) {
			break
		}
	}
	return root, err
}
