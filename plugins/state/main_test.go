package state

import (
	"fmt"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

// workerEnv is the variable that makes the test binary a process that works on the state in the
// directory that the variable names.
const workerEnv = "STATE_TEST_WORKER"

func TestMain(m *testing.M) {
	if root := os.Getenv(workerEnv); root != "" {
		fmt.Fprintln(os.Stderr, work(root, os.Getenv(workerEnv+"_LIFE")))
		os.Exit(1)
	}
	os.Exit(leaktest.Run(m))
}
