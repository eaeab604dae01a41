// Package leaktest makes tests fail that leave goroutines behind.
package leaktest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience is how long goroutines have to end after the last test.
const patience = 5 * time.Second

// Run runs the tests and returns the exit code for the process: a failure also
// when goroutines are left that run code of this module or of one of the
// packages besides.
func Run(m *testing.M, besides ...string) int {
	code := m.Run()
	if code != 0 {
		return code
	}
	if left := Goroutines(besides...); left != "" {
		fmt.Fprintf(os.Stderr, "goroutines that no test ended:\n\n%s\n", left)
		return 1
	}
	return 0
}

// Goroutines returns the stacks of such goroutines, once they had time to end.
func Goroutines(besides ...string) string {
	packages := append([]string{"dormouse/"}, besides...)
	buffer := make([]byte, 1<<20)
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		var left []string
		for stack := range strings.SplitSeq(string(buffer[:runtime.Stack(buffer, true)]), "\n\n") {
			if !strings.Contains(stack, "TestMain") && containsAny(stack, packages) {
				left = append(left, stack)
			}
		}
		if left == nil || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
	}
}

func containsAny(s string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(s, part) {
			return true
		}
	}
	return false
}
