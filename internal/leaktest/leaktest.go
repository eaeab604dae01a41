// Package leaktest fails a package's tests if they leave goroutines behind. It does not
// know which test started them.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// maxEndTime is how long goroutines may take to end after the last test.
const maxEndTime = 5 * time.Second

// Run runs the tests and returns the exit code for the process. If all tests pass, goroutines
// that are left and run code of this module, or of one of the other packages, are a failure,
// too; Run prints their stacks to stderr.
func Run(m *testing.M, otherPackages ...string) (exitCode int) {
	code := m.Run()
	if code != 0 {
		return code
	}
	if left := waitForGoroutinesToEnd(otherPackages); left != "" {
		fmt.Fprintf(os.Stderr, "goroutines that no test ended:\n\n%s\n", left)
		return 1
	}
	return 0
}

// waitForGoroutinesToEnd waits until no goroutine runs code of this module or of the other
// packages. It returns the stacks of the goroutines that are left after maxEndTime, "" if
// all have ended.
func waitForGoroutinesToEnd(otherPackages []string) (leftStacks string) {
	packages := append([]string{"dormouse/"}, otherPackages...)
	buffer := make([]byte, 1<<20)
	for deadline := time.Now().Add(maxEndTime); ; runtime.Gosched() {
		var left []string
		for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if !strings.Contains(stack, "TestMain") && slices.ContainsFunc(packages, func(p string) bool { return strings.Contains(stack, p) }) {
				left = append(left, stack)
			}
		}
		if left == nil || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}
