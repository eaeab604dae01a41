package procfs

import (
	"path/filepath"
	"slices"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TCPSocket is what a TCP socket says of itself.
type TCPSocket struct {
	Listening, Reuse bool
	Waiting          int    // connections that were not accepted yet
	Port             string // the local one, empty when it has none
}

// TCP asks the socket.
func (d Descriptor) TCP() (s TCPSocket, err error) {
	err = d.borrow(func(fd int) error {
		accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil {
			return err
		}
		reuse, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR)
		if err != nil {
			return err
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return err
		}
		name, err := unix.Getsockname(fd)
		if err != nil {
			return err
		}
		s.Listening, s.Reuse, s.Port = accepts != 0, reuse != 0, port(name)
		if s.Listening {
			s.Waiting = int(info.Unacked) // of a listening socket, it means this
		}
		return nil
	})
	return s, err
}

func port(name unix.Sockaddr) string {
	n := 0
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		n = name.Port
	case *unix.SockaddrInet6:
		n = name.Port
	}
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// HolderOf returns a process that has the socket with the inode open, 0 if there is
// none to be seen. It looks through all of them.
func HolderOf(inode uint32) int {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		if slices.ContainsFunc(Descriptors(pid), func(d Descriptor) bool { return d.Socket() == inode }) {
			return pid
		}
	}
	return 0
}

// Unread tells whether there is something to read in the socket.
func (d Descriptor) Unread() (unread bool, err error) {
	err = d.borrow(func(fd int) error {
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
func (d Descriptor) Queued() (size uint32, err error) {
	err = d.borrow(func(fd int) error {
		size, err = unix.IoctlGetUint32(fd, unix.TIOCINQ) // FIONREAD by another name
		return err
	})
	return size, err
}

// borrow hands the process's own descriptor to use, for the moment.
func (d Descriptor) borrow(use func(fd int) error) error {
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
