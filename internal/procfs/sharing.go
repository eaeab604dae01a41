package procfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// What processes may share, see clone(2).
const (
	SharedMemory    = 1 // KCMP_VM
	SharedDirectory = 3 // KCMP_FS
)

// Shared returns pairs of the processes that share what, the lower number first.
func PairsSharing(pids []int, what int) (pairs [][2]int) {
	order := slices.Clone(pids)
	slices.SortFunc(order, func(a, b int) int { return compareResource(a, b, what) })
	for i := 1; i < len(order); i++ {
		if a, b := order[i-1], order[i]; compareResource(a, b, what) == 0 {
			pairs = append(pairs, [2]int{min(a, b), max(a, b)})
		}
	}
	return pairs
}

// compare is 0 when both processes have the same of what. Those that can't be asked
// have nothing in common with others.
func compareResource(a, b, what int) int {
	less, _, errno := unix.RawSyscall6(unix.SYS_KCMP, uintptr(a), uintptr(b), uintptr(what), 0, 0, 0)
	switch {
	case errno != 0:
		return a - b
	case less == 2:
		return 1
	}
	return -int(less)
}
