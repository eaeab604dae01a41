//go:build failpoints

package failpoint

import (
	"os"
	"syscall"
)

// variable names the one point at which the process is killed, or stopped where
// the word stop follows.
const variable = "DORMOUSE_FAILPOINT"

// Hit marks the boundary of two steps. The process ends there by SIGKILL if the
// environment names it.
func Hit(name string) {
	switch os.Getenv(variable) {
	case name:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case name + " stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
}
