//go:build failpoints

package failpoint

import (
	"os"
	"syscall"
)

// variable is the environment variable that names the point at which Hit kills the
// process, or stops it if " stop" follows the name.
const variable = "DORMOUSE_FAILPOINT"

// Hit marks the point of that name between two steps. It kills or stops this process if the
// environment variable DORMOUSE_FAILPOINT names the point.
func Hit(name string) {
	switch os.Getenv(variable) {
	case name:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case name + " stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}
