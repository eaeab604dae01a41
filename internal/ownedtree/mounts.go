package ownedtree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// unmountBelow unmounts all that is mounted at or below path, the last mount first. A mount
// that is in use goes when its last user has ended, see MNT_DETACH in umount(2).
func unmountBelow(path string) error {
	points, err := mountPointsBelow(path)
	if err != nil {
		return err
	}
	var errs []error
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it went with another
			errs = append(errs, fmt.Errorf("cannot unmount %s: %w", point, err))
		}
	}
	return errors.Join(errs...)
}

// mountPointsBelow returns where something is mounted at or below path, in the order of the
// mounts.
func mountPointsBelow(path string) (points []string, err error) {
	dir, err := filepath.Abs(filepath.Dir(path))
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // the kernel lists paths without links
	}
	if err != nil {
		return nil, err
	}
	path = filepath.Join(dir, filepath.Base(path))
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line) // see proc_pid_mountinfo(5)
		if len(fields) < 5 {
			continue
		}
		if point := unescapeMountPoint.Replace(fields[4]); point == path || strings.HasPrefix(point, path+"/") {
			points = append(points, point)
		}
	}
	return points, nil
}

// unescapeMountPoint undoes what the kernel does to blanks and backslashes in a path.
var unescapeMountPoint = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
