package hibernatetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// swapSize is the size of the swap in bytes, enough for the memory that tests page out.
const swapSize = 512 << 20

// SwitchSwapOn gives the machine a swap, in compressed memory or else in a file, until the
// test ends. The test must call it before it starts a process that could be swapped out.
// SwitchSwapOn skips the test if no swap is possible.
func SwitchSwapOn(tb testing.TB) {
	tb.Helper()
	if err := swapOnZram(tb); err != nil {
		if ferr := swapOnFile(tb); ferr != nil {
			tb.Skip(fmt.Errorf("cannot switch a swap on: %w", errors.Join(err, ferr)))
		}
	}
}

// zramControl is the directory whose files add and remove block devices in compressed memory.
const zramControl = "/sys/class/zram-control/"

// swapOnZram switches on a swap in compressed memory, until the test ends.
func swapOnZram(tb testing.TB) error {
	tb.Helper()
	text, err := os.ReadFile(zramControl + "hot_add")
	if err != nil {
		return err
	}
	number := strings.TrimSpace(string(text))
	tb.Cleanup(func() {
		err := os.WriteFile(zramControl+"hot_remove", []byte(number), 0)
		for range 100 { // another process may have the new block device open
			if !errors.Is(err, syscall.EBUSY) {
				break
			}
			<-time.After(10 * time.Millisecond)
			err = os.WriteFile(zramControl+"hot_remove", []byte(number), 0)
		}
		if err != nil {
			tb.Error(err)
		}
	})
	if err := os.WriteFile("/sys/block/zram"+number+"/disksize", fmt.Append(nil, swapSize), 0); err != nil {
		return err
	}
	return swapOnDevice(tb, "/dev/zram"+number)
}

// swapOnFile switches on a swap in a new file, until the test ends.
func swapOnFile(tb testing.TB) error {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "swap")
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = syscall.Fallocate(int(file.Fd()), 0, 0, swapSize)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return swapOnDevice(tb, path)
}

// swapOnDevice makes the block device or file a swap until the test ends.
func swapOnDevice(tb testing.TB, path string) error {
	tb.Helper()
	for _, command := range [][]string{{"mkswap", path}, {"swapon", "-p", "100", path}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command[0], err, out)
		}
	}
	tb.Cleanup(func() {
		if out, err := exec.Command("swapoff", path).CombinedOutput(); err != nil {
			tb.Errorf("swapoff: %v: %s", err, out)
		}
	})
	return nil
}
