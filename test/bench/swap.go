package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// zram is where the kernel makes block devices of compressed memory, and the size
// of ours.
const (
	zram     = "/sys/class/zram-control/"
	zramSize = 512 << 20
)

// switchSwapOn makes a swap in memory if the machine has none. What it returns
// undoes that.
func switchSwapOn() (off func() error, err error) {
	if swap, err := procfs.MachineHasSwap(); swap || err != nil {
		return func() error { return nil }, err
	}
	text, err := os.ReadFile(zram + "hot_add")
	if err != nil {
		return nil, fmt.Errorf("there is no swap, and none can be made: %w", err)
	}
	number := strings.TrimSpace(string(text))
	device := "/dev/zram" + number
	remove := func() error { return removeZram(number) }
	if err := os.WriteFile("/sys/block/zram"+number+"/disksize", fmt.Append(nil, zramSize), 0); err != nil {
		return nil, errors.Join(err, remove())
	}
	for _, command := range []string{"mkswap", "swapon"} {
		if err := onDevice(command, device); err != nil {
			return nil, errors.Join(err, remove())
		}
	}
	fmt.Printf("There was no swap; the page-out tier was measured with one of %d MiB in compressed memory (%s).\n", zramSize>>20, device)
	return func() error { return errors.Join(onDevice("swapoff", device), remove()) }, nil
}

func onDevice(command, device string) error {
	if out, err := exec.Command(command, device).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, out)
	}
	return nil
}

// removeZram removes the device as soon as no process has it open.
func removeZram(number string) error {
	err := os.WriteFile(zram+"hot_remove", []byte(number), 0)
	for range 100 {
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
		err = os.WriteFile(zram+"hot_remove", []byte(number), 0)
	}
	return err
}
