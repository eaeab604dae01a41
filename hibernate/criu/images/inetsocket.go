package images

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/checkpoint-restore/go-criu/v7/crit/images/fdinfo"
	sk_inet "github.com/checkpoint-restore/go-criu/v7/crit/images/sk-inet"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// fieldInetSocket is the number of a field of file_entry, from CRIU's images/fdinfo.proto.
const fieldInetSocket = 4

// FindInetSocket returns the network, tcp or udp, and the address of the socket with that
// number in the image in dir.
func FindInetSocket(dir string, id uint32) (network string, local netip.AddrPort, err error) {
	entries, err := readRawEntries(filepath.Join(dir, filesName), magicFiles)
	if err != nil {
		return "", local, err
	}
	for _, text := range entries {
		var file fdinfo.FileEntry
		if !hasField(text, fieldInetSocket) || proto.Unmarshal(text, &file) != nil || file.GetIsk().GetId() != id {
			continue
		}
		network = "udp"
		if file.Isk.GetProto() == unix.IPPROTO_TCP {
			network = "tcp"
		}
		return network, localAddress(file.Isk), nil
	}
	return "", local, fmt.Errorf("there is no socket %d in %s", id, filesName)
}

// localAddress returns the address that the socket is bound to.
func localAddress(s *sk_inet.InetSkEntry) netip.AddrPort {
	var raw []byte
	for _, word := range s.GetSrcAddr() { // in the network's byte order
		raw = binary.NativeEndian.AppendUint32(raw, word)
	}
	if s.GetFamily() == unix.AF_INET && len(raw) > 4 {
		raw = raw[:4]
	}
	address, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(address.Unmap(), uint16(s.GetSrcPort()))
}
