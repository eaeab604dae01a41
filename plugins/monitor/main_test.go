package monitor

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) {
	// A descriptor that go test inherited and passed on can't be checkpointed, and a lock
	// on it is waited for in the restore.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(leaktest.Run(m))
}
