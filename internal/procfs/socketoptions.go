package procfs

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IsCorked reports whether the UDP socket holds back what is sent, see UDP_CORK in udp(7). It
// returns false for any other file.
func (d Descriptor) IsCorked() (corked bool) {
	const cork = 1 // UDP_CORK
	_ = d.WithDuplicate(func(fd int) error {
		value, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, cork)
		corked = value != 0
		return err
	})
	return corked
}

// HasHighNetlinkGroup reports whether the netlink socket is in a group above 32. It returns
// false for any other file.
func (d Descriptor) HasHighNetlinkGroup() (high bool) {
	_ = d.WithDuplicate(func(fd int) error {
		groups := make([]byte, 128) // 1,024 groups
		n, err := getsockoptBytes(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS, groups)
		for _, b := range groups[min(4, n):min(n, len(groups))] {
			high = high || b != 0
		}
		return err
	})
	return high
}

// SocketFile returns the path at which the file of a bound unix socket lies now, and the
// number of its names. The path is "" for a socket that is not bound to a path or whose
// file was deleted.
func (d Descriptor) SocketFile() (path string, names uint64) {
	const socketFile = 0x89e0 // SIOCUNIXFILE
	_ = d.WithDuplicate(func(fd int) error {
		file, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), socketFile, 0)
		if errno != 0 {
			return errno
		}
		defer unix.Close(int(file)) //nolint:errcheck // it was opened with O_PATH
		var st unix.Stat_t
		if err := unix.Fstat(int(file), &st); err != nil || st.Nlink == 0 {
			return err
		}
		names = st.Nlink
		var err error
		path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file))
		return err
	})
	return path, names
}

// getsockoptBytes fills value with a socket option, and returns the size that the kernel
// gives for the option, which may be larger.
func getsockoptBytes(fd, level, option int, value []byte) (size int, err error) {
	length := uint32(len(value))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&value[0])), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(length), nil
}
