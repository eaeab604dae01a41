package obstacles

import (
	"fmt"
	"slices"
	"time"

	"dormouse/internal/procfs"
)

// sharingObstacles finds processes that have in common what CRIU takes only for
// threads.
func sharingObstacles(tree []int, found *findings) {
	tree = slices.DeleteFunc(slices.Clone(tree), procfs.Zombie)
	for _, pair := range procfs.Shared(tree, procfs.SharedMemory) {
		switch {
		case !procfs.Uninterruptible(pair[0]):
			if stillShared(pair, procfs.SharedMemory) {
				found.note(pair[1], fmt.Sprintf("shares its memory with process %d", pair[0]), "the program must use threads, or fork without CLONE_VM")
			}
		case lasts(func() bool { return stillShared(pair, procfs.SharedMemory) }):
			found.note(pair[1], fmt.Sprintf("holds process %d in a vfork", pair[0]), "it must execute another program at once, or end").passes = true
		}
	}
	for _, pair := range procfs.Shared(tree, procfs.SharedDirectory) {
		if stillShared(pair, procfs.SharedDirectory) {
			found.note(pair[1], fmt.Sprintf("shares its working directory with process %d", pair[0]), "the program must fork without CLONE_FS")
		}
	}
}

// stillShared tells whether the two have not ended meanwhile: then they have nothing
// in common any more, which looks the same.
func stillShared(pair [2]int, what int) bool {
	return len(procfs.Shared(pair[:], what)) == 1 && !procfs.Zombie(pair[0]) && !procfs.Zombie(pair[1])
}

// patience is the time in which what passes is over as a rule, such as a vfork. CRIU
// waits longer, but then the whole tree waits with it.
const patience = 500 * time.Millisecond

// lasts tells whether it is still so after that.
func lasts(so func() bool) bool {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for so() {
		select {
		case <-tick.C:
		case <-late:
			return true
		}
	}
	return false
}
