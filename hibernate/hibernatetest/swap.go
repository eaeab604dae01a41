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

// swapSize is enough for what tests page out.
const swapSize = 512 << 20

// SwitchSwapOn gives the machine a swap, in compressed memory or else in a file, until the
// test ends. A test must call it before it starts a process that could be swapped out. If
// no swap is possible the test is skipped.
func SwitchSwapOn(tb testing.TB) {
	tb.Helper()
	if err := switchZramOn(tb); err != nil {
		if ferr := switchSwapFileOn(tb); ferr != nil {
			tb.Skip(fmt.Errorf("no swap can be had: %w", errors.Join(err, ferr)))
		}
	}
}

// zramControl is where the kernel makes compressed block devices.
const zramControl = "/sys/class/zram-control/"

// switchZramOn swaps to compressed memory.
func switchZramOn(tb testing.TB) error {
	tb.Helper()
	text, err := os.ReadFile(zramControl + "hot_add")
	if err != nil {
		return err
	}
	number := strings.TrimSpace(string(text))
	tb.Cleanup(func() {
		err := os.WriteFile(zramControl+"hot_remove", []byte(number), 0)
		for range 100 { // others may be looking at a new block device
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
	return switchDeviceOn(tb, "/dev/zram"+number)
}

// switchSwapFileOn swaps to a new file.
func switchSwapFileOn(tb testing.TB) error {
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
	return switchDeviceOn(tb, path)
}

// switchDeviceOn swaps to the block device or file until the test ends.
func switchDeviceOn(tb testing.TB, path string) error {
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
