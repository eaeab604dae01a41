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

// Sockets outlive the program that serves on them, so that clients wait instead of
// being refused: the next one in the same process inherits them, and systemd keeps
// for the next host those that it did not make itself.

// inheritedName is the variable that tells a program what it inherits from the one
// before: number:name:number:name… Descriptors may have any number, since the Go
// runtime has its own among those from 3 on.
const inheritedName = "DORMOUSE_SOCKETS"

// keptPrefix begins the names of the sockets that a host has made.
const keptPrefix = "kept-"

// keptName names the socket of an address. Systemd allows no colon in it.
func keptName(address string) string { return keptPrefix + strings.ReplaceAll(address, ":", "_") }

// keptSocket is a listening socket beside the listener that serves on it.
type keptSocket struct {
	name string
	file *os.File
}

// received returns the sockets that the program was started with: those that
// systemd made, and those that an earlier host has left.
func receivedSockets() (handed []*os.File, left leftSockets) {
	left = make(leftSockets)
	for _, f := range append(activation.Files(true), inheritedSockets()...) {
		if strings.HasPrefix(f.Name(), keptPrefix) {
			left[f.Name()] = f
		} else {
			handed = append(handed, f)
		}
	}
	return handed, left
}

func inheritedSockets() (files []*os.File) {
	words := strings.Split(os.Getenv(inheritedName), ":")
	_ = os.Unsetenv(inheritedName) // or the next program would believe it
	for pair := range slices.Chunk(words, 2) {
		if fd, err := strconv.Atoi(pair[0]); err == nil && len(pair) == 2 {
			files = append(files, os.NewFile(uintptr(fd), pair[1]))
		}
	}
	return files
}

// leftSockets are those of an earlier host, by name, that nobody has taken yet.
type leftSockets map[string]*os.File

// take returns the listener of that name, nil when there is none.
func (left leftSockets) takeListener(name string) net.Listener {
	f, ok := left[name]
	if !ok {
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil // it is given up
	}
	delete(left, name)
	_ = f.Close() // the listener has its own
	return l
}

// giveUp closes those that nobody has taken, here and in systemd's store.
func (left leftSockets) closeAll(log zerolog.Logger) {
	for name, f := range left {
		log.Info().Str("socket", strings.TrimPrefix(name, keptPrefix)).Msg("nothing is served there any more")
		_ = f.Close()
		removeFromSystemd(name)
	}
}

// pass makes the sockets the caller's to close.
func (s *sockets) releaseKept() []keptSocket {
	kept := s.kept
	s.kept = nil
	return kept
}

// bequeath leaves the sockets open for the program that is executed next, and tells
// it of them.
func passToNextProgram(kept []keptSocket) error {
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
