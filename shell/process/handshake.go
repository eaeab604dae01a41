package process

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hashicorp/go-plugin"

	"dormouse/shell/shellpb"
)

// parseHandshake returns the path of the plugin's socket from go-plugin's handshake line,
//
//	core version|protocol version|network|address|protocol[|certificate[|multiplex]]
//
// It refuses a socket outside of socketDir: a plugin must not make its host dial another one.
func parseHandshake(line, socketDir string) (socket string, err error) {
	fields := strings.Split(line, "|")
	if len(fields) < 5 {
		return "", fmt.Errorf("it wrote %.200q", line)
	}
	if n, err := strconv.Atoi(fields[0]); err != nil || n != plugin.CoreProtocolVersion {
		return "", fmt.Errorf("it speaks version %q of go-plugin's handshake, the host speaks %d", fields[0], plugin.CoreProtocolVersion)
	}
	if n, err := strconv.Atoi(fields[1]); err != nil || n != shellpb.ProtocolVersion {
		return "", fmt.Errorf("it speaks version %q of the plugin protocol, the host speaks %d", fields[1], shellpb.ProtocolVersion)
	}
	if fields[2] != "unix" {
		return "", fmt.Errorf("it listens on network %q, it must be a unix socket", fields[2])
	}
	if plugin.Protocol(fields[4]) != plugin.ProtocolGRPC {
		return "", fmt.Errorf("it speaks %q, it must be grpc", fields[4])
	}
	if len(fields) > 5 && fields[5] != "" {
		return "", errors.New("it wants TLS, which the host does not use on the plugin's own socket")
	}
	socket = filepath.Clean(fields[3])
	if filepath.Dir(socket) != socketDir {
		return "", fmt.Errorf("its socket %q is not in the directory that PLUGIN_UNIX_SOCKET_DIR names", fields[3])
	}
	return socket, nil
}
