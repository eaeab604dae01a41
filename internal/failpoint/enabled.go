//go:build failpoints

package failpoint

import (
	"os"
	"strings"
	"syscall"
	"time"
)

// variable is the environment variable that names the point at which Hit kills the
// process, or does what follows the name: " stop" stops it, and " wait PATH" makes the file
// PATH.reached and waits until the file PATH exists.
const variable = "DORMOUSE_FAILPOINT"

// Hit marks the point of that name between two steps. It kills or stops this process, or waits,
// if the environment variable DORMOUSE_FAILPOINT names the point.
func Hit(name string) {
	point, how, _ := strings.Cut(os.Getenv(variable), " ")
	if point != name {
		return
	}
	path, waits := strings.CutPrefix(how, "wait ")
	switch {
	case how == "":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case how == "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case waits:
		waitFor(path)
	}
}

// waitFor makes the file path.reached and returns once there is a file at path.
func waitFor(path string) {
	_ = os.WriteFile(path+".reached", nil, 0o600)
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
