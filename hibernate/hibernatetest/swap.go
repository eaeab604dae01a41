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

// Swap switches on a swap of the test's own, in compressed memory or else in a
// file, and off when the test ends. It must be called before anything is started
// that could be in it then. Where none can be had it skips the test and says why.
func Swap(tb testing.TB) {
	tb.Helper()
	if err := zram(tb); err != nil {
		if ferr := swapFile(tb); ferr != nil {
			tb.Skip(fmt.Errorf("no swap can be had: %w", errors.Join(err, ferr)))
		}
	}
}

// control is where the kernel makes compressed block devices.
const control = "/sys/class/zram-control/"

func zram(tb testing.TB) error {
	tb.Helper()
	text, err := os.ReadFile(control + "hot_add")
	if err != nil {
		return err
	}
	number := strings.TrimSpace(string(text))
	tb.Cleanup(func() {
		err := os.WriteFile(control+"hot_remove", []byte(number), 0)
		for range 100 { // others may be looking at a new block device
			if !errors.Is(err, syscall.EBUSY) {
				break
			}
			<-time.After(10 * time.Millisecond)
			err = os.WriteFile(control+"hot_remove", []byte(number), 0)
		}
		if err != nil {
			tb.Error(err)
		}
	})
	if err := os.WriteFile("/sys/block/zram"+number+"/disksize", fmt.Append(nil, swapSize), 0); err != nil {
		return err
	}
	return swapOn(tb, "/dev/zram"+number)
}

func swapFile(tb testing.TB) error {
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
	return swapOn(tb, path)
}

func swapOn(tb testing.TB, path string) error {
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
