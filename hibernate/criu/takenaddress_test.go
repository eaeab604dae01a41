package criu_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dormouse/internal/procfs"
)

// A wake whose address another process has taken says in plain words which address that is,
// and which process has it.
func TestTakenAddress(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for _, test := range []struct{ object, network, table, address string }{
		{"udp", "udp", "udp", "127.0.0.1"},
		{"tcp-wildcard", "tcp", "tcp6", "::"},
		{"udp6", "udp", "udp6", "::1"},
	} {
		t.Run(test.object, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, program, test.object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			address := netip.AddrPortFrom(netip.MustParseAddr(test.address), h.port(t, test.table))
			h.asleep = func() {
				if test.network == "tcp" {
					l, err := net.Listen("tcp", address.String())
					must(t, err)
					t.Cleanup(func() { _ = l.Close() })
				} else {
					c, err := net.ListenPacket("udp", address.String())
					must(t, err)
					t.Cleanup(func() { _ = c.Close() })
				}
			}
			want := fmt.Sprintf("the plugin's %s address %s is taken by process %d (%s)", test.network, address, os.Getpid(), procfs.ProcessName(os.Getpid()))
			if err := h.sleep(t, e); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %s", err, want)
			}
		})
	}
}

// port returns the port of the program's socket in that table of /proc/net.
func (h *holder) port(t *testing.T, table string) uint16 {
	t.Helper()
	var inodes []string
	for _, pid := range procfs.Tree(h.PID()) {
		for _, d := range procfs.Descriptors(pid) {
			inodes = append(inodes, fmt.Sprint(d.SocketInode()))
		}
	}
	text, err := os.ReadFile("/proc/net/" + table)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		if columns := strings.Fields(line); columns[9] != "0" && slices.Contains(inodes, columns[9]) {
			port, err := strconv.ParseUint(columns[1][strings.Index(columns[1], ":")+1:], 16, 16)
			must(t, err)
			return uint16(port)
		}
	}
	t.Fatalf("the program has no socket in %s", table)
	return 0
}
