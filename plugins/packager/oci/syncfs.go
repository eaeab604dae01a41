package oci

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// syncfs is syncfs(2), which reports an error of writing back since Linux 5.8.
func syncfs(dir *os.File) error {
	for {
		if err := unix.Syncfs(int(dir.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
