package obstacles

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// namespaces are the kinds of namespaces that all processes of a tree must share for
// CRIU to dump it.
var namespaces = []string{"user", "mnt", "net", "uts", "ipc", "cgroup", "pid", "pid_for_children", "time", "time_for_children"}

// findProcessObstacles finds properties of whole processes that CRIU refuses or loses:
// namespaces, cgroups, personalities, tracers, other users and mappings. It compares all
// processes with the root, the first of the tree, and the root with the host.
func findProcessObstacles(treePIDs []int, found *findings) {
	root := treePIDs[0]
	rootCgroup, mayDumpOthers := cgroup.PathBelowMount(root), mayDumpOtherUsers()
	rootNamespaces := make(map[string]string)
	for _, kind := range namespaces {
		rootNamespaces[kind] = procfs.Namespace(root, kind)
	}
	hostPersonality := procfs.Personality(os.Getpid())
	if mounts := procfs.Namespace(os.Getpid(), "mnt"); mounts != "" && rootNamespaces["mnt"] != "" && rootNamespaces["mnt"] != mounts {
		found.lookAtProcess(root, "other-mounts", "")
	}
	for _, pid := range treePIDs {
		if procfs.HasEnded(pid) {
			continue
		}
		for _, kind := range namespaces {
			if own := procfs.Namespace(pid, kind); own != "" && rootNamespaces[kind] != "" && own != rootNamespaces[kind] {
				found.lookAtProcess(pid, "namespace", ", "+own)
				break // a process with one such namespace usually has several
			}
		}
		if own := cgroup.PathBelowMount(pid); own != rootCgroup && own != "" {
			found.lookAtProcess(pid, "cgroup", ", "+own)
		}
		if personality := procfs.Personality(pid); personality != hostPersonality && personality != "" {
			found.lookAtProcess(pid, "personality", ", "+personality)
		}
		if procfs.IsTraced(pid) {
			found.lookAtProcess(pid, "traced", "")
		}
		if !mayDumpOthers && procfs.HasOtherUserOrGroup(pid) {
			found.lookAtProcess(pid, "other-user", "")
		}
		findMappingObstacles(pid, found)
		for path, size := range procfs.DeletedFilesMapped(pid) {
			if size > MaxDeletedFileSize {
				found.lookAtProcess(pid, "deleted-large-mapped", ", "+path)
			}
		}
		if signal := procfs.ExitSignal(pid); pid != root && signal != 0 && signal != int(unix.SIGCHLD) {
			found.lookAtProcess(pid, "exit-signal", fmt.Sprintf(", %d", signal))
		}
	}
}

// mayDumpOtherUsers reports whether CRIU, started by this host, may read the limits of
// processes of other users, see prlimit(2). It returns true if that is not known.
func mayDumpOtherUsers() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true // an obstacle that is not certain is not named
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}
