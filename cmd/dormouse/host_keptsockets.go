package main

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Listening sockets outlive the host, so that clients wait instead of being refused. A
// next host in the same process inherits them; for any other, systemd keeps the sockets
// that it did not make itself.

// inheritedName is the environment variable that lists the inherited sockets:
// descriptor:name:descriptor:name… The descriptors are not consecutive, since the Go
// runtime has opened some too.
const inheritedName = "DORMOUSE_SOCKETS"

// keptPrefix begins the names of the sockets that a host has made.
const keptPrefix = "kept-"

// keptSocketName returns the name under which the socket of an address is kept. Systemd
// allows no colon in names.
func keptSocketName(address string) string { return keptPrefix + strings.ReplaceAll(address, ":", "_") }

// keptSocket is a duplicate of a listener's socket. It stays open when the listener is
// closed, for the next host.
type keptSocket struct {
	name string
	file *os.File
}

// takeReceivedSockets returns the sockets that the program was started with: those that
// systemd made, and those that an earlier host has kept for its successor. It clears the
// environment variables that list them, so that no child process uses them.
func takeReceivedSockets() (fromSystemd []*os.File, fromEarlierHost leftSockets) {
	fromEarlierHost = make(leftSockets)
	for _, f := range append(activation.Files(true), takeInheritedSockets()...) {
		if strings.HasPrefix(f.Name(), keptPrefix) {
			fromEarlierHost[f.Name()] = f
		} else {
			fromSystemd = append(fromSystemd, f)
		}
	}
	return fromSystemd, fromEarlierHost
}

// takeInheritedSockets returns the sockets that inheritedName lists, and clears that
// variable.
func takeInheritedSockets() (files []*os.File) {
	words := strings.Split(os.Getenv(inheritedName), ":")
	_ = os.Unsetenv(inheritedName) // so that no child process uses it
	for pair := range slices.Chunk(words, 2) {
		if fd, err := strconv.Atoi(pair[0]); err == nil && len(pair) == 2 {
			files = append(files, os.NewFile(uintptr(fd), pair[1]))
		}
	}
	return files
}

// leftSockets are the sockets of an earlier host that this one has not taken yet, by name.
type leftSockets map[string]*os.File

// takeListenerOrNil removes the socket of that name from left and returns the listener on
// it, nil if there is none.
func (left leftSockets) takeListenerOrNil(name string) net.Listener {
	f, ok := left[name]
	if !ok {
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil // closeAndUnstoreAll closes it
	}
	delete(left, name)
	_ = f.Close() // the listener has its own
	return l
}

// closeAndUnstoreAll closes the sockets that were not taken, here and in systemd's store,
// and logs that nothing is served there any more.
func (left leftSockets) closeAndUnstoreAll(log zerolog.Logger) {
	for name, f := range left {
		log.Info().Str("socket", strings.TrimPrefix(name, keptPrefix)).Msg("nothing is served there any more")
		_ = f.Close()
		removeSocketFromSystemd(name)
	}
}

// takeKeptSockets returns the kept sockets, which the caller closes from now on.
func (s *sockets) takeKeptSockets() []keptSocket {
	kept := s.kept
	s.kept = nil
	return kept
}

// prepareSocketsForExec keeps the sockets open across the next execve(2), and lists
// them in the environment variable inheritedName.
func prepareSocketsForExec(kept []keptSocket) error {
	var words []string
	for _, k := range kept {
		fd := k.file.Fd()
		if _, err := unix.FcntlInt(fd, unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot pass socket %s on: %w", k.name, err)
		}
		words = append(words, strconv.Itoa(int(fd)), k.name)
	}
	return os.Setenv(inheritedName, strings.Join(words, ":"))
}
