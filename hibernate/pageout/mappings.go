package pageout

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mapping is a part of a process's address space.
type mapping struct{ start, length uintptr }

// memoryFilePrefixes begin the names of files that exist only in memory.
var memoryFilePrefixes = []string{"/memfd:", "/dev/shm/", "/dev/zero", "/SYSV"}

// adviceForMapsLine returns the mapping in a line of /proc/<pid>/maps, and which advice to
// give to process_madvise(2) for that mapping, 0 for none. Memory that only the swap can hold
// is paged out. Memory with a copy in a file becomes the first that the kernel drops when
// memory is short: to drop it at once would gain little, since other processes often run the
// same program, and a wake would wait for the disk.
func adviceForMapsLine(line string) (area mapping, advice int) {
	// The fields are: address perms offset dev inode path.
	fields := strings.Fields(line)
	if len(fields) < 5 || len(fields[1]) < 4 {
		return mapping{}, 0
	}
	from, to, _ := strings.Cut(fields[0], "-")
	start, err := strconv.ParseUint(from, 16, 64)
	end, err2 := strconv.ParseUint(to, 16, 64)
	if err != nil || err2 != nil || end <= start {
		return mapping{}, 0
	}
	area = mapping{uintptr(start), uintptr(end - start)}
	var name string
	if len(fields) > 5 {
		name = fields[5]
	}
	if strings.HasPrefix(name, "[v") { // the kernel's own: vdso, vvar, vsyscall
		return area, 0
	}
	writable, private := fields[1][1] == 'w', fields[1][3] == 'p'
	if fields[4] == "0" || private && writable {
		return area, unix.MADV_PAGEOUT
	}
	for _, prefix := range memoryFilePrefixes {
		if strings.HasPrefix(name, prefix) {
			return area, unix.MADV_PAGEOUT
		}
	}
	return area, unix.MADV_COLD
}
