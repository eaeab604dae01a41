package procfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Resources that processes and threads may share, see clone(2) and kcmp(2).
const (
	SharedMemory      = 1 // the address space, KCMP_VM
	SharedDescriptors = 2 // the table of descriptors, KCMP_FILES
	SharedDirectory   = 3 // umask, working directory and root directory, KCMP_FS
)

// Share reports whether two threads share the resource. It returns true if that can't be
// found out, as when one has ended.
func Share(tid1, tid2, resource int) bool {
	result, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(tid1), uintptr(tid2), uintptr(resource), 0, 0, 0)
	return errno != 0 || result == 0
}

// PairsSharing returns pairs of processes that share the resource, the lower PID first. Three
// processes that share one make two pairs. resource is SharedMemory or SharedDirectory.
func PairsSharing(pids []int, resource int) (pairs [][2]int) {
	order := slices.Clone(pids)
	slices.SortFunc(order, func(a, b int) int { return compareResource(a, b, resource) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; compareResource(a, b, resource) == 0 {
			pairs = append(pairs, [2]int{min(a, b), max(a, b)})
		}
	}
	return pairs
}

// ShareSemaphores reports whether two threads undo changes of System V semaphores together,
// when the last of them ends (CLONE_SYSVSEM).
func ShareSemaphores(a, b int) bool {
	const semaphores = 6 // KCMP_SYSVSEM
	return compareResource(a, b, semaphores) == 0
}

// compareResource orders two processes by a resource and returns 0 when they share the
// resource. A process that this process may not inspect counts as sharing nothing.
func compareResource(a, b, resource int) int {
	less, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(resource), 0, 0, 0)
	switch {
	case errno != 0:
		return a - b
	case less == 2:
		return 1
	}
	return -int(less)
}
