package procfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

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

func (d Descriptor) path() string { return fmt.Sprintf("/proc/%d/fd/%d", d.PID, d.FD) }

// Device returns the number of the device that is open, ok = false when it is
// none.
func (d Descriptor) Device() (number uint64, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(d.path(), &st); err != nil {
		return 0, false
	}
	kind := st.Mode & unix.S_IFMT
	return st.Rdev, kind == unix.S_IFCHR || kind == unix.S_IFBLK
}

// Mount returns the number of the mount that the file is on, 0 when it has no path.
func (d Descriptor) Mount() uint64 {
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
func (d Descriptor) Socket() uint32 {
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

// UnixSocket is a unix socket as the kernel sees it.
type UnixSocket struct {
	// Peer is the inode of the socket that it is connected to, 0 when there is
	// none any more.
	Peer uint32
	// Name is what it is bound to, often nothing. One in the abstract namespace
	// begins with "@".
	Name string
	// Unread counts bytes that it sent and the peer did not read.
	Unread uint32
	// Waiting are the sockets that are connected to it, a listening one, and were not
	// accepted yet; 0 is one that was closed since.
	Waiting []uint32
}

// UnixSockets returns all unix sockets of this network namespace by inode.
func UnixSockets() (map[uint32]UnixSocket, error) {
	sockets, err := dumpUnixSockets()
	if err != nil {
		return nil, fmt.Errorf("cannot list the unix sockets: %w", err)
	}
	return sockets, nil
}

// See sock_diag(7): the sizes of its structures, and the attributes it is asked
// for.
const (
	diagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	diagRequest  = 24
	diagMessage  = 16
	show         = 1 | 4 | 8 | 16 // UDIAG_SHOW_NAME, _PEER, _ICONS, _RQLEN
	attrName     = 0              // UNIX_DIAG_NAME
	attrPeer     = 2              // UNIX_DIAG_PEER
	attrWaiting  = 3              // UNIX_DIAG_ICONS
	attrQueues   = 4              // UNIX_DIAG_RQLEN
)

func dumpUnixSockets() (map[uint32]UnixSocket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	request := make([]byte, unix.NLMSG_HDRLEN+diagRequest)
	host := binary.NativeEndian
	host.PutUint32(request[0:], uint32(len(request)))
	host.PutUint16(request[4:], diagByFamily)
	host.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := request[unix.NLMSG_HDRLEN:]
	body[0] = unix.AF_UNIX
	host.PutUint32(body[4:], ^uint32(0)) // in any state
	host.PutUint32(body[12:], show)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	sockets := make(map[uint32]UnixSocket)
	for answer := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err != nil {
			return nil, err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			switch {
			case m.Header.Type == unix.NLMSG_DONE:
				return sockets, nil
			case m.Header.Type == unix.NLMSG_ERROR || len(m.Data) < diagMessage:
				return nil, errors.New("the kernel refuses")
			}
			sockets[host.Uint32(m.Data[4:])] = parseDiag(m.Data[diagMessage:])
		}
	}
}

// parseDiag reads the attributes of one socket.
func parseDiag(attributes []byte) (s UnixSocket) {
	host := binary.NativeEndian
	for len(attributes) >= unix.SizeofRtAttr {
		length := int(host.Uint16(attributes))
		if length < unix.SizeofRtAttr || length > len(attributes) {
			break
		}
		value := attributes[unix.SizeofRtAttr:length]
		switch kind := host.Uint16(attributes[2:]); {
		case kind == attrPeer && len(value) >= 4:
			s.Peer = host.Uint32(value)
		case kind == attrQueues && len(value) >= 8:
			s.Unread = host.Uint32(value[4:])
		case kind == attrWaiting:
			for ; len(value) >= 4; value = value[4:] {
				s.Waiting = append(s.Waiting, host.Uint32(value))
			}
		case kind == attrName && len(value) > 0 && value[0] == 0:
			s.Name = "@" + string(value[1:])
		case kind == attrName:
			s.Name = unix.ByteSliceToString(value)
		}
		attributes = attributes[min(len(attributes), (length+3)&^3):]
	}
	return s
}

// Command is the name of the process's program, cut to 15 bytes by the kernel.
func Command(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return strings.TrimSpace(string(name))
}
