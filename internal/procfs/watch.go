package procfs

import (
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Watch is what one mark of an inotify or fanotify descriptor watches.
type Watch struct {
	// Device is the device number of the file system that the watched file is on.
	Device uint64
	// WholeFileSystem means that all of that file system is watched.
	WholeFileSystem bool

	handle unix.FileHandle
}

// Watches returns the marks of an inotify or fanotify descriptor, none for any other file.
func (d Descriptor) Watches() (all []Watch) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", d.PID, d.FD))
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "inotify" && fields[0] != "fanotify" {
			continue
		}
		w := Watch{WholeFileSystem: fields[0] == "fanotify" && strings.HasPrefix(fields[1], "sdev:")}
		kind := int64(0)
		for _, field := range fields[1:] {
			switch key, value, _ := strings.Cut(field, ":"); key {
			case "sdev": // as the kernel keeps it: 20 bits of the minor number
				number, _ := strconv.ParseUint(value, 16, 32)
				w.Device = unix.Mkdev(uint32(number>>20), uint32(number&(1<<20-1)))
			case "fhandle-type":
				kind, _ = strconv.ParseInt(value, 16, 32)
			case "f_handle":
				bytes, _ := hex.DecodeString(value)
				w.handle = unix.NewFileHandle(int32(kind), bytes)
			}
		}
		if w.Device != 0 {
			all = append(all, w)
		}
	}
	return all
}

// IsDeleted reports whether the watched file has no name any more. It returns false if that
// can't be found out. on is a mount of the file's file system.
func (w Watch) IsDeleted(on Mount) bool {
	if w.handle.Size() == 0 {
		return false
	}
	root, err := unix.Open(on.Point, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(root) //nolint:errcheck // nothing was written that could be lost
	file, err := unix.OpenByHandleAt(root, w.handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(file) //nolint:errcheck // as above
	var st unix.Stat_t
	return unix.Fstat(file, &st) == nil && st.Nlink == 0
}
