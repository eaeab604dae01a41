package procfs

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Descriptor is one open file of a process.
type Descriptor struct {
	PID, FD int
	// Target is what /proc/<pid>/fd/<fd> shows: a path, or "socket:[4711]" and the
	// like.
	Target string
}

// Descriptors returns what the process has open, nothing when it is gone.
func Descriptors(pid int) []Descriptor {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(0) // as many as there are
	open := make([]Descriptor, 0, len(names))
	target := make([]byte, unix.PathMax)
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if n, err := unix.Readlinkat(int(dir.Fd()), name, target); err == nil {
			open = append(open, Descriptor{PID: pid, FD: fd, Target: string(target[:n])})
		}
	}
	return open
}

// Device returns the number of the device that is open, ok = false when it is
// none.
func (d Descriptor) DeviceNumber() (number uint64, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	kind := st.Mode & unix.S_IFMT
	return st.Rdev, kind == unix.S_IFCHR || kind == unix.S_IFBLK
}

// Mount returns the number of the mount that the file is on, 0 when it has no path.
func (d Descriptor) MountID() uint64 {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, d.path(), 0, unix.STATX_TYPE|unix.STATX_MNT_ID, &st); err != nil {
		return 0
	}
	kind := st.Mode & unix.S_IFMT
	if !strings.HasPrefix(d.Target, "/") || strings.HasPrefix(d.Target, "/memfd:") || kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return 0
	}
	return st.Mnt_id
}

// Socket returns the inode of the socket that is open, 0 when it is none.
func (d Descriptor) SocketInode() uint32 {
	text, ok := strings.CutPrefix(d.Target, "socket:[")
	if !ok {
		return 0
	}
	inode, _ := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(inode)
}

// Protocol is the kernel's name for the socket's protocol, such as "UNIX-STREAM",
// empty when it is no socket.
func (d Descriptor) Protocol() string {
	name := make([]byte, 64)
	n, err := unix.Getxattr(d.path(), "system.sockprotoname", name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(name[:n])
}

// Info is what /proc/<pid>/fdinfo says of the descriptor under key.
func (d Descriptor) InfoField(key string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", d.PID, d.FD))
	return lineValue(string(text), key+":")
}

// Flags are those that the file was opened with.
func (d Descriptor) OpenFlags() uint64 {
	flags, _ := strconv.ParseUint(d.InfoField("flags"), 8, 64)
	return flags
}

// Deleted returns what a file without a name takes on its disk; regular is false
// when it has a name or is no regular file.
func (d Descriptor) DeletedSize() (size int64, regular bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	return st.Blocks * 512, st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// Unread tells whether there is something to read in the socket.
func (d Descriptor) HasUnread() (unread bool, err error) {
	err = d.withDuplicate(func(fd int) error {
		var words [9]uint32 // the first is SK_MEMINFO_RMEM_ALLOC
		size := uint32(unsafe.Sizeof(words))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&words)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		unread = words[0] > 0
		return nil
	})
	return unread, err
}

// Queued is how many bytes there are to read in the file, if it can tell.
func (d Descriptor) QueuedBytes() (size uint32, err error) {
	err = d.withDuplicate(func(fd int) error {
		size, err = unix.IoctlGetUint32(fd, unix.TIOCINQ) // FIONREAD by another name
		return err
	})
	return size, err
}

// HolderOf returns a process that has the socket with the inode open, 0 if there is
// none to be seen. It looks through all of them.
func SocketHolder(inode uint32) int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if slices.ContainsFunc(Descriptors(pid), func(d Descriptor) bool { return d.SocketInode() == inode }) {
			return pid
		}
	}
	return 0
}

func (d Descriptor) path() string { return fmt.Sprintf("/proc/%d/fd/%d", d.PID, d.FD) }

// borrow hands the process's own descriptor to use, for the moment.
func (d Descriptor) withDuplicate(use func(fd int) error) error {
	pidfd, err := unix.PidfdOpen(d.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing was written that could be lost
	fd, err := unix.PidfdGetfd(pidfd, d.FD, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // the process has it still
	return use(fd)
}
