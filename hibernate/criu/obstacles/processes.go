package obstacles

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// MaxDeletedFile is how large a deleted file may be that goes into an image.
const MaxDeletedFile = 64 << 20

// namespaces are those that CRIU takes only where the whole tree is in the same.
var namespaces = []string{"user", "mnt", "net", "uts", "ipc", "cgroup", "pid", "pid_for_children", "time", "time_for_children"}

// processObstacles finds what is wrong with the processes themselves. The first
// is the root, to which the others are compared.
func processObstacles(tree []int, found *findings) {
	root := tree[0]
	group, setuid := cgroup.PathOf(root), mayDumpOthers()
	inside := make(map[string]string)
	for _, name := range namespaces {
		inside[name] = procfs.Namespace(root, name)
	}
	host := procfs.Personality(os.Getpid())
	if mounts := procfs.Namespace(os.Getpid(), "mnt"); mounts != "" && inside["mnt"] != "" && inside["mnt"] != mounts {
		found.note(root, "has other mounts than the host, for an earlier one started it",
			"start it again; the unit must not have PrivateTmp, ProtectSystem and their like where plugins outlive the host")
	}
	for _, pid := range tree {
		if procfs.Zombie(pid) {
			continue
		}
		for _, name := range namespaces {
			if got := procfs.Namespace(pid, name); got != "" && inside[name] != "" && got != inside[name] {
				found.note(pid, "has a namespace of its own, "+got, "the program must not make namespaces (unshare, containers)")
				break // one comes seldom alone
			}
		}
		if at := cgroup.PathOf(pid); at != group && at != "" {
			found.note(pid, "is in a cgroup of its own, "+at, "it would wake up in the plugin's: the program must not make cgroups")
		}
		if personality := procfs.Personality(pid); personality != host && personality != "" {
			found.note(pid, "has another personality, "+personality, "it would be lost: start it without setarch")
		}
		if procfs.Traced(pid) {
			found.note(pid, "is being traced", "end the debugger first")
		}
		if !setuid && procfs.ForeignUser(pid) {
			found.note(pid, "runs as another user", "the host needs the capability CAP_SYS_RESOURCE for that")
		}
		mappingObstacles(pid, found)
	}
}

// mappingObstacles finds what is mapped and is neither memory nor a regular file,
// open or not.
func mappingObstacles(pid int, found *findings) {
	for _, path := range procfs.Mapped(pid) {
		switch {
		case strings.HasPrefix(path, "/SYSV"):
			found.note(pid, "has System V shared memory mapped, "+path, "the program must use shm_open or memfd_create instead")
		case strings.HasPrefix(path, "anon_inode:"), isMappedDevice(path):
			found.note(pid, "has "+path+" mapped", "unmap it in BeforeCheckpoint")
		}
	}
}

func isMappedDevice(path string) bool {
	if !strings.HasPrefix(path, "/dev/") || path == "/dev/zero" {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode()&os.ModeDevice != 0
}

// mayDumpOthers tells whether CRIU may read the limits of other users' processes.
func mayDumpOthers() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true // nothing is certain then
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// unlike says what of the descriptor would come back different, or not at all.
func unlike(d procfs.Descriptor) (what, mend string) {
	switch {
	case strings.HasPrefix(d.Target, "anon_inode:[eventfd]"):
		if strings.TrimSpace(d.Info("eventfd-semaphore")) == "1" {
			return "an eventfd that is a semaphore", "it would come back as a plain one: close it in BeforeCheckpoint"
		}
	case strings.HasPrefix(d.Target, "pipe:["):
		if d.Flags()&unix.O_DIRECT != 0 {
			return "a pipe in packet mode", "the program must do without O_DIRECT, or use a socket pair"
		}
	case strings.HasSuffix(d.Target, " (deleted)"):
		if size, regular := d.Deleted(); regular && size > MaxDeletedFile {
			return "a large deleted file, " + d.Target, "close it in BeforeCheckpoint, or keep its name"
		}
	}
	return "", ""
}
