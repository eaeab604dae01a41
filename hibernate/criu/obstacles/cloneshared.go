package obstacles

import (
	"fmt"
	"slices"
	"time"

	"dormouse/internal/procfs"
)

// findSharedMemoryOrDirectory finds processes that share their memory or the state of their
// current directory (CLONE_VM, CLONE_FS) with another process: CRIU dumps only what the
// threads of one process share. A process in a vfork gets a moment to end that.
func findSharedMemoryOrDirectory(treePIDs []int, found *findings) {
	alive := slices.DeleteFunc(slices.Clone(treePIDs), procfs.HasEnded)
	for _, pair := range procfs.PairsSharing(alive, procfs.SharedMemory) {
		switch {
		case !procfs.HasUninterruptibleThread(pair[0]):
			if isStillShared(pair, procfs.SharedMemory) {
				found.lookAtProcess(pair[1], "shared-memory", fmt.Sprintf(" with process %d", pair[0]))
			}
		case isPresentAfterWait(func() bool { return isStillShared(pair, procfs.SharedMemory) }):
			found.lookAtProcess(pair[1], "vfork", fmt.Sprintf(", %d", pair[0]))
		}
	}
	for _, pair := range procfs.PairsSharing(alive, procfs.SharedDirectory) {
		if isStillShared(pair, procfs.SharedDirectory) {
			found.lookAtProcess(pair[1], "shared-directory", fmt.Sprintf(" with process %d", pair[0]))
		}
	}
}

// isStillShared reports whether both processes live and share the resource, a kind that
// procfs.PairsSharing knows. For two ended processes kcmp(2) would claim that they do.
func isStillShared(pair [2]int, resource int) bool {
	return len(procfs.PairsSharing(pair[:], resource)) == 1 && !procfs.HasEnded(pair[0]) && !procfs.HasEnded(pair[1])
}

// passingTime is how long isPresentAfterWait waits for the end of an obstacle that
// usually passes, such as a vfork. CRIU would wait longer, but with the whole tree
// stopped.
const passingTime = 500 * time.Millisecond

// isPresentAfterWait asks isPresent again and again, and reports whether the obstacle is
// still present after passingTime. It returns false as soon as isPresent does.
func isPresentAfterWait(isPresent func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(passingTime)
	for isPresent() {
		select {
		case <-tick.C:
		case <-late:
			return true
		}
	}
	return false
}
