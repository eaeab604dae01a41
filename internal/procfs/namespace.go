package procfs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Namespace returns the namespace of that kind that the process is in, such as
// "net:[4026531840]" for "net". It returns "" when the kernel has no namespaces of that
// kind, or the process is gone.
func Namespace(pid int, kind string) string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	return target
}

// Mounts are the mounts in the mount namespace of a process, see proc_pid_mountinfo(5).
type Mounts []Mount

// Mount is one mount.
type Mount struct {
	ID         uint64
	Device     uint64 // the device number of the file system
	Point      string // where it is mounted
	FileSystem string // the type, such as "ext4"
}

// ReadMounts returns the mounts that the process sees, none when the process is gone.
func ReadMounts(pid int) (all Mounts) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	for line := range strings.Lines(string(text)) {
		// ID parent major:minor root point options [optional fields] - type source options
		head, tail, _ := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if len(fields) < 5 {
			continue
		}
		id, _ := strconv.ParseUint(fields[0], 10, 64)
		major, minor, _ := strings.Cut(fields[2], ":")
		high, _ := strconv.ParseUint(major, 10, 32)
		low, _ := strconv.ParseUint(minor, 10, 32)
		fileSystem, _, _ := strings.Cut(tail, " ")
		all = append(all, Mount{ID: id, Device: unix.Mkdev(uint32(high), uint32(low)), Point: fields[4], FileSystem: fileSystem})
	}
	return all
}

// WithID returns the mount with that ID, and found = false if there is none.
func (all Mounts) WithID(id uint64) (m Mount, found bool) {
	i := slices.IndexFunc(all, func(m Mount) bool { return m.ID == id })
	if i < 0 {
		return Mount{}, false
	}
	return all[i], true
}

// OfDevice returns a mount of the file system with that device number, and found = false if
// there is none.
func (all Mounts) OfDevice(device uint64) (m Mount, found bool) {
	i := slices.IndexFunc(all, func(m Mount) bool { return m.Device == device })
	if i < 0 {
		return Mount{}, false
	}
	return all[i], true
}
