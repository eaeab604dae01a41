package procfs

import (
	"encoding/binary"
	"errors"
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

// File is what the file system says of an open file.
type File struct {
	Type     uint32 // S_IFREG and its like, see inode(7)
	Device   uint64 // the number of a device
	MountID  uint64 // see MountTypes
	Links    uint32 // the number of its names
	DiskSize int64  // the bytes that it occupies on its disk
	Number   uint64 // of its inode
	On       uint64 // the device number of its file system
}

// IsDeleted reports whether the file is regular and has no name any more.
func (f File) IsDeleted() bool { return f.Type == unix.S_IFREG && f.Links == 0 }

// File returns what the file system says of the open file, and an error if it is closed.
func (d Descriptor) File() (File, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, d.path(), 0, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return File{}, err
	}
	return File{
		Type: uint32(st.Mode & unix.S_IFMT), Device: unix.Mkdev(st.Rdev_major, st.Rdev_minor), MountID: st.Mnt_id,
		Links: st.Nlink, DiskSize: int64(st.Blocks) * 512, Number: st.Ino, On: unix.Mkdev(st.Dev_major, st.Dev_minor),
	}, nil
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

// HasUnreadData reports whether the socket has received data that the process has not read
// yet. It returns an error for other files.
func (d Descriptor) HasUnreadData() (unread bool, err error) {
	err = d.WithDuplicate(func(fd int) error {
		words := make([]byte, 9*4) // the first is SK_MEMINFO_RMEM_ALLOC
		if _, err := getsockoptBytes(fd, unix.SOL_SOCKET, unix.SO_MEMINFO, words); err != nil {
			return err
		}
		unread = binary.NativeEndian.Uint32(words) > 0
		return nil
	})
	return unread, err
}

// HasSocketProgram reports whether the file is a socket with a program of SO_ATTACH_BPF.
func (d Descriptor) HasSocketProgram() bool {
	err := d.WithDuplicate(func(fd int) error {
		var size uint32 // 0: nothing but the length is asked for
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return errors.Is(err, unix.EACCES) // the kernel has the instructions of classic filters only
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
