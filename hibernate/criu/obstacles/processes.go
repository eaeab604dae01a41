package obstacles

import (
	"os"
	"strings"

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
		found.addProcess(root, "has other mounts than the host, because an earlier host started it",
			"start it again; the unit must not have PrivateTmp, ProtectSystem and their like where plugins outlive the host")
	}
	for _, pid := range treePIDs {
		if procfs.HasEnded(pid) {
			continue
		}
		for _, kind := range namespaces {
			if own := procfs.Namespace(pid, kind); own != "" && rootNamespaces[kind] != "" && own != rootNamespaces[kind] {
				found.addProcess(pid, "has a namespace of its own, "+own, "the program must not make namespaces (unshare, containers)")
				break // a process with one such namespace usually has several
			}
		}
		if own := cgroup.PathBelowMount(pid); own != rootCgroup && own != "" {
			found.addProcess(pid, "is in a cgroup of its own, "+own, "it would wake up in the plugin's: the program must not make cgroups")
		}
		if personality := procfs.Personality(pid); personality != hostPersonality && personality != "" {
			found.addProcess(pid, "has another personality, "+personality, "it would be lost: start it without setarch")
		}
		if procfs.IsTraced(pid) {
			found.addProcess(pid, "is being traced", "end the debugger first")
		}
		if !mayDumpOthers && procfs.HasOtherUserOrGroup(pid) {
			found.addProcess(pid, "runs as another user", "the host needs the capability CAP_SYS_RESOURCE for that")
		}
		findUnsupportedMappings(pid, found)
	}
}

// findUnsupportedMappings finds mappings of the process that CRIU cannot dump: of System V
// shared memory, devices, anonymous inodes and large deleted files.
func findUnsupportedMappings(pid int, found *findings) {
	for _, path := range procfs.MappingNames(pid) {
		switch {
		case strings.HasPrefix(path, "/SYSV"):
			found.addProcess(pid, "has System V shared memory mapped, "+path, "the program must use shm_open or memfd_create instead")
		case strings.HasPrefix(path, "anon_inode:"), isDeviceFile(path):
			found.addProcess(pid, "has "+path+" mapped", "unmap it in BeforeCheckpoint")
		}
	}
	for path, size := range procfs.DeletedFilesMapped(pid) {
		if size > MaxDeletedFileSize {
			found.addProcess(pid, "has a large deleted file mapped, "+path, "close it in BeforeCheckpoint, or keep its name")
		}
	}
}

// isDeviceFile reports whether the mapped path is a device. /dev/zero is memory.
func isDeviceFile(path string) bool {
	if !strings.HasPrefix(path, "/dev/") || path == "/dev/zero" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeDevice != 0
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
