package procfs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/filenames"
)

// Descriptor is one open file of a process.
type Descriptor struct {
	PID, FD int
	// Target is what the link /proc/<pid>/fd/<fd> leads to: a path, or a name such as
	// "socket:[4711]".
	Target string
}

// Descriptors returns the open files of the process, nil when the process is gone.
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

// DeviceNumber returns the number of the open device, and isDevice = false when the file is
// not a device.
func (d Descriptor) DeviceNumber() (number uint64, isDevice bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	kind := st.Mode & unix.S_IFMT
	return st.Rdev, kind == unix.S_IFCHR || kind == unix.S_IFBLK
}

// MountID returns the ID of the mount that the file or directory is on, 0 when the
// descriptor is open on something else, such as a socket or a device.
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

// SocketInode returns the inode of the open socket, 0 when the file is not a socket.
func (d Descriptor) SocketInode() uint32 {
	text, ok := strings.CutPrefix(d.Target, "socket:[")
	if !ok {
		return 0
	}
	inode, _ := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 32)
	return uint32(inode)
}

// SocketProtocol returns the kernel's name for the protocol of the socket, such as
// "UNIX-STREAM", "" when the file is not a socket.
func (d Descriptor) SocketProtocol() string {
	name := make([]byte, 64)
	n, err := unix.Getxattr(d.path(), "system.sockprotoname", name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(name[:n])
}

// Info returns the lines of /proc/<pid>/fdinfo/<fd>, "" when the file is closed.
func (d Descriptor) Info() string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", d.PID, d.FD))
	return string(text)
}

// InfoField returns the value of the key in /proc/<pid>/fdinfo/<fd>, "" when the key is
// missing or the file is closed.
func (d Descriptor) InfoField(key string) string {
	return findLineValue(d.Info(), key+":")
}

// OpenFlags returns the flags with which the file is open, see open(2).
func (d Descriptor) OpenFlags() uint64 {
	flags, _ := strconv.ParseUint(d.InfoField("flags"), 8, 64)
	return flags
}

// DiskSizeIfDeleted returns the bytes that a deleted regular file occupies on its disk, and
// isDeletedFile = false for any other file.
func (d Descriptor) DiskSizeIfDeleted() (size int64, isDeletedFile bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	return st.Blocks * 512, st.Nlink == 0 && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// HasUnreadData reports whether the socket has received data that the process has not read
// yet. It returns an error for other files.
func (d Descriptor) HasUnreadData() (unread bool, err error) {
	err = d.WithDuplicate(func(fd int) error {
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

// ReadableBytes returns the number of bytes that can be read now from the pipe, terminal
// or socket, and an error for other files.
func (d Descriptor) ReadableBytes() (size uint32, err error) {
	err = d.WithDuplicate(func(fd int) error {
		size, err = unix.IoctlGetUint32(fd, unix.TIOCINQ) // FIONREAD by another name
		return err
	})
	return size, err
}

// FindSocketHolder returns the PID of a process that has the socket of that inode open, 0
// if this process may see none. It looks through all processes of the machine.
func FindSocketHolder(inode uint32) (pid int) {
	for _, pid := range filenames.NumbersIn("/proc") {
		if slices.ContainsFunc(Descriptors(pid), func(d Descriptor) bool { return d.SocketInode() == inode }) {
			return pid
		}
	}
	return 0
}

// path returns the path in /proc at which the open file can be opened or examined.
func (d Descriptor) path() string { return fmt.Sprintf("/proc/%d/fd/%d", d.PID, d.FD) }

// WithDuplicate calls use with a duplicate of the descriptor in this process, and closes
// the duplicate after the call, see pidfd_getfd(2). It returns the error of use, or an error
// if there can be no duplicate.
func (d Descriptor) WithDuplicate(use func(fd int) error) error {
	pidfd, err := unix.PidfdOpen(d.PID, 0)
	if err != nil {
		return err
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing was written that could be lost
	fd, err := unix.PidfdGetfd(pidfd, d.FD, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // the other process still has the file open
	return use(fd)
}
