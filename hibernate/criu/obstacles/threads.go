package obstacles

import (
	"fmt"
	"os"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// threadNamespaces are the kinds of namespaces that a single thread may leave, see
// unshare(2).
var threadNamespaces = []string{"net", "uts", "ipc", "cgroup", "mnt", "pid_for_children"}

// findThreadObstacles finds threads that differ from their process in what CRIU takes from
// the process alone, and threads with a scheduling that CRIU does not restore.
func findThreadObstacles(treePIDs []int, found *findings) {
	for _, pid := range treePIDs {
		tids := procfs.ThreadIDs(pid)
		if len(tids) > 0 && procfs.HasEnded(pid) {
			found.lookAtProcess(pid, "ended-leader", "")
			continue
		}
		namespaces, personality := namespacesOf(pid), procfs.Personality(pid)
		for _, tid := range tids {
			findScheduling(pid, tid, found)
			if tid != pid {
				findOwnOfThread(pid, tid, namespaces, personality, found)
			}
		}
	}
}

// findOwnOfThread finds what the thread does not have in common with the first thread of its
// process, which has these namespaces and this personality.
func findOwnOfThread(pid, tid int, namespaces []string, personality string, found *findings) {
	thread := fmt.Sprintf(", %d", tid)
	if !procfs.Share(pid, tid, procfs.SharedDirectory) {
		found.lookAtProcess(pid, "thread-directory", thread)
	}
	if !procfs.Share(pid, tid, procfs.SharedDescriptors) {
		found.lookAtProcess(pid, "thread-descriptors", thread)
	}
	if own := procfs.Personality(tid); own != personality && own != "" && personality != "" {
		found.lookAtProcess(pid, "thread-personality", thread)
	}
	for i, own := range namespacesOf(tid) {
		if own != namespaces[i] && own != "" && namespaces[i] != "" {
			found.lookAtProcess(pid, "thread-namespace", thread+", "+own)
		}
	}
}

// namespacesOf returns the namespaces of the thread in the order of threadNamespaces.
func namespacesOf(tid int) []string {
	all := make([]string, len(threadNamespaces))
	for i, kind := range threadNamespaces {
		all[i] = procfs.Namespace(tid, kind)
	}
	return all
}

// findScheduling finds a scheduling of the thread that CRIU does not restore.
func findScheduling(pid, tid int, found *findings) {
	const deadline = 6
	s, err := procfs.SchedulingOf(tid)
	switch {
	case err != nil: // the thread has ended
	case s.Policy == deadline:
		found.lookAtProcess(pid, "sched-deadline", fmt.Sprintf(" for thread %d", tid))
	case s.Policy > deadline:
		found.lookAtProcess(pid, kinds.Kind(fmt.Sprintf("the scheduling policy %d", s.Policy)), fmt.Sprintf(" for thread %d", tid))
	}
	if s.IsClamped {
		found.lookAtProcess(pid, "a utilization clamp", fmt.Sprintf(" for thread %d", tid))
	}
	if s.HasCookie {
		found.lookAtProcess(pid, "a core scheduling cookie", fmt.Sprintf(" for thread %d", tid))
	}
}

// findHardening finds threads whose speculation is limited otherwise than this process's, by
// something else than a seccomp filter, and threads with shadow stacks.
func findHardening(processes []treeProcess, found *findings) error {
	host, err := procfs.HardeningOf(os.Getpid())
	if err != nil {
		return err
	}
	for _, p := range processes {
		for _, tid := range p.tids {
			own, err := procfs.HardeningOf(tid)
			if err != nil {
				continue // the thread has ended
			}
			if !own.IsFiltered && !host.IsFiltered && (own.StoreBypass != host.StoreBypass || own.IndirectBranch != host.IndirectBranch) {
				found.lookAtProcess(p.pid, "a limit of speculation (PR_SET_SPECULATION_CTRL)", fmt.Sprintf(" for thread %d", tid))
			}
			if own.ShadowStack != host.ShadowStack {
				found.lookAtProcess(p.pid, "a shadow stack", fmt.Sprintf(" for thread %d", tid))
			}
		}
	}
	return nil
}
