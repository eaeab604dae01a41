package sockdiag

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// findInProc returns the socket with these ends from the tables tcp and tcp6 in dir, see
// proc_net(5). It returns errClosed if there is none.
func findInProc(dir string, e ends) (socket, error) {
	for _, name := range []string{"tcp", "tcp6"} { // an IPv4 connection may be in either
		found, err := findInTable(filepath.Join(dir, name), e)
		if err == nil || !errors.Is(err, errClosed) && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6 has no tcp6
			return found, err
		}
	}
	return socket{}, errClosed
}

// findInTable returns the socket with these ends from one table.
func findInTable(path string, e ends) (socket, error) {
	f, err := os.Open(path)
	if err != nil {
		return socket{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if found, err := parseTableLine(lines.Text()); err == nil && found.ends == e { // the heading has no addresses
			return found, nil
		}
	}
	if err := lines.Err(); err != nil {
		return socket{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return socket{}, errClosed
}

// parseTableLine returns the socket in a line of a table.
func parseTableLine(line string) (s socket, err error) {
	const local, remote, state, uid, inode = 1, 2, 3, 7, 9 // columns
	columns := strings.Fields(line)
	if len(columns) <= inode {
		return socket{}, errors.New("too short a line")
	}
	if s.local, err = parseTableAddress(columns[local]); err != nil {
		return socket{}, err
	}
	if s.remote, err = parseTableAddress(columns[remote]); err != nil {
		return socket{}, err
	}
	number, err := strconv.ParseUint(columns[state], 16, 8)
	if err != nil {
		return socket{}, err
	}
	s.state = int(number)
	if s.uid, err = strconv.Atoi(columns[uid]); err != nil {
		return socket{}, err
	}
	number, err = strconv.ParseUint(columns[inode], 10, 32)
	s.inode = uint32(number)
	return s, err
}

// parseTableAddress returns the address and port of a column, such as 0100007F:270E. Each
// four bytes of an address stand in the machine's byte order.
func parseTableAddress(text string) (netip.AddrPort, error) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	a, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, errors.New("not an address")
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(number)), nil
}
