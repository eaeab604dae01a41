// Package faults does to hosts what may happen to them, from SIGKILL between two
// steps to full disks, and has test/audit look from outside at what they make of it.
//
// It runs a part of the points and cycles; all of them with DORMOUSE_FAULTS=all, as
// make e2e does.
package faults

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

const patience = 30 * time.Second

// programs holds a host with failpoints, plugins and the audit.
var programs string

// thorough reports whether to try every point and to run every cycle.
var thorough = os.Getenv("DORMOUSE_FAULTS") == "all"

// places is how many tests run beside each other and the storm.
var places = make(chan struct{}, 2*runtime.GOMAXPROCS(0))

// runBeside lets the test run beside others that have a root, ports and disks of their own.
// It returns once there is a place for it. A test of which only the parts run beside others
// calls t.Parallel itself, as a parent that held a place could wait for ever for its parts.
func runBeside(t *testing.T) {
	t.Helper()
	t.Parallel()
	places <- struct{}{}
	t.Cleanup(func() { <-places })
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := flag.Set("test.parallel", "1000"); err != nil { // places is the limit
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "df")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	for _, args := range [][]string{
		{"build", "-tags", "failpoints", "-o", dir + "/dormouse", "dormouse/cmd/dormouse"},
		{"build", "-o", dir + "/Optimizer", "dormouse/plugins/examples/optimizer"},
		{"build", "-o", dir + "/LeastSquares", "dormouse/plugins/examples/objective"},
		{"build", "-o", dir + "/PatternSearch", "dormouse/plugins/examples/minimizer"},
		{"build", "-o", dir + "/", "dormouse/plugins/examples/counter", "dormouse/plugins/examples/lines", "dormouse/plugins/examples/survey", "dormouse/test/faults/ledger", "dormouse/test/faults/bulk", "dormouse/test/faults/hog", "dormouse/test/faults/versioned", "dormouse/test/faults/brood", "dormouse/test/faults/gated", "dormouse/test/faults/teller", "dormouse/test/faults/follower", "dormouse/test/audit"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "cannot build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// needCRIU skips the test where nothing can be hibernated, or fails it if that
// must not be.
func needCRIU(t *testing.T) {
	t.Helper()
	out, err := exec.Command(programs+"/dormouse", "doctor").CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1":
		t.Fatalf("hibernation does not work here:\n%s", out)
	default:
		t.Skipf("hibernation does not work here:\n%s", out)
	}
}
