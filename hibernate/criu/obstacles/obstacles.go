// Package obstacles finds what in a process tree CRIU cannot dump, or would bring back
// different. It looks at the processes through /proc and ptrace(2), and changes nothing.
// It does not know how CRIU is run, or what becomes of a tree with an obstacle.
package obstacles

import (
	"strconv"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// Finder finds obstacles. Its methods are those of hibernate.Engine: each takes the
// PIDs of a tree, the root first, and returns an ErrObstacle that names all obstacles,
// or an ErrPassing if each of them may be gone a moment later.
type Finder struct {
	// HelperDir is the directory in which the executable of the Landlock check's helper
	// process is installed.
	HelperDir string
	// Table says which kinds of objects are obstacles; nil stands for kinds.All().
	Table kinds.Table
	// TryUnknown means that an object of a kind that the table lacks is no obstacle.
	TryUnknown bool

	landlocked landlockedThreads
}

// ObstaclesAnyTime returns an error for the obstacles that a running tree shows: its
// descriptors, mappings, namespaces, and what its processes share. See
// hibernate.Engine.
func (f *Finder) ObstaclesAnyTime(treePIDs []int) error {
	found := f.newFindings()
	findProcessObstacles(treePIDs, found)
	findThreadObstacles(treePIDs, found)
	findSharedMemoryOrDirectory(treePIDs, found)
	findOvercommitted(treePIDs, found)
	f.landlocked.findKnownInTree(treePIDs, found)
	c := newDescriptorClassifier(treePIDs)
	for _, pid := range treePIDs {
		for _, d := range procfs.Descriptors(pid) {
			kind, detail := c.classify(d)
			found.lookAtDescriptor(d, kind, detail)
		}
	}
	return found.asError()
}

// ObstaclesWhenQuiet returns an error for connections of a quiet tree to processes
// outside of it, and for unread data that CRIU would lose. See hibernate.Engine.
func (f *Finder) ObstaclesWhenQuiet(treePIDs []int) error {
	found := f.newFindings()
	findTCPListenerObstacles(treePIDs, found)
	sockets := make(map[uint32]procfs.Descriptor)
	var watches []procfs.Descriptor
	for _, pid := range treePIDs {
		for _, d := range procfs.Descriptors(pid) {
			if inode := d.SocketInode(); inode != 0 {
				sockets[inode] = d
				findUnreadNetlink(d, found)
				findSocketProgram(d, found)
			}
			if d.Target == inotifyTarget || d.Target == fanotifyTarget {
				watches = append(watches, d)
			}
		}
	}
	awaitAndFindUnreadWatches(watches, found)
	if len(sockets) == 0 {
		return found.asError()
	}
	if err := findUnixSocketObstacles(sockets, found); err != nil {
		return err
	}
	return found.asError()
}

// newFindings returns no findings yet, by the finder's table.
func (f *Finder) newFindings() *findings {
	table := f.Table
	if table == nil {
		table = kinds.All()
	}
	return &findings{table: table, tryUnknown: f.TryUnknown}
}

// pidSet returns the PIDs as texts, for comparisons with paths below /proc.
func pidSet(pids []int) map[string]bool {
	set := make(map[string]bool, len(pids))
	for _, pid := range pids {
		set[strconv.Itoa(pid)] = true
	}
	return set
}
