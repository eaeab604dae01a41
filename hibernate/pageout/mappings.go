package pageout

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mapping is a part of a process's address space.
type mapping struct{ start, length uintptr }

// inMemory begin the names of files that are memory themselves.
var inMemory = []string{"/memfd:", "/dev/shm/", "/dev/zero", "/SYSV"}

// judge says what is to become of the mapping in a line of /proc/<pid>/maps.
// What only the swap can hold is paged out. What a file holds is made the first
// to go when memory is short: dropping it at once would gain little, as others
// often run the same program, and a wake would wait for the disk.
func judge(line string) (area mapping, advice int) {
	// address perms offset dev inode path
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
	for _, prefix := range inMemory {
		if strings.HasPrefix(name, prefix) {
			return area, unix.MADV_PAGEOUT
		}
	}
	return area, unix.MADV_COLD
}
