// Package systemd runs the shipped units under a real systemd, which it boots in a
// container of its own.
package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The test binary runs twice: outside, where it boots the container, and as the only
// thing that systemd does inside.
const (
	lab         = "/lab"                   // where both see the same directory
	insideName  = "DORMOUSE_TEST_INSIDE"   // set inside
	rebootCode  = 133                      // nspawn's, when the container wants to be booted again
	runName     = "run"                    // starts the test inside
	outputName  = "output"                 // what it prints
	verdictName = "verdict"                // its exit status
	bootedName  = "booted-again"           // there once the first boot is over
	unitsOfOurs = "../../configs/systemd/" // what is tested
	hooksOfOurs = "../../configs/apt/"     // what is tested, too
)

// programs holds the host and the counter.
var programs string

func TestMain(m *testing.M) {
	if os.Getenv(insideName) != "" {
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

func outside(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ds")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-o", programs+"/", "dormouse/cmd/dormouse", "dormouse/plugins/examples/counter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}
