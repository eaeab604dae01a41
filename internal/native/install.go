// Package native contains small programs without a Go runtime, which the host starts
// beside plugins, and installs them. Their C sources in src say what each does and why it
// is not written in Go.
package native

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"

	"dormouse/internal/atomicfile"
	"dormouse/internal/regularfile"
)

// Canary as the only argument makes pidone run, instead of a plugin, a child that holds
// inet sockets: the tree on which an engine tries a dump and a restore.
const Canary = "--canary"

// InstallPidone returns the path of the program that is pid 1 of a plugin's PID
// namespace. It writes the program into dir unless the program is there.
func InstallPidone(dir string) (path string, err error) { return installProgram(dir, "pidone", pidone) }

// InstallDescriptorHolder returns the path of the program that holds descriptors until a
// process has ended. It writes the program into dir unless the program is there.
func InstallDescriptorHolder(dir string) (path string, err error) {
	return installProgram(dir, "hold", hold)
}

// InstallLandlockBystander returns the path of the program that threads try to inspect in
// the search for Landlock domains. It writes the program into dir unless the program is
// there.
func InstallLandlockBystander(dir string) (path string, err error) {
	return installProgram(dir, "bystander", bystander)
}

// installProgram returns the path of the program in dir, and writes the program there
// unless it is there. It returns an error on a processor that Dormouse has no programs for.
// The file's name has a digest of the program: an image refers to that very file, which
// must therefore stay when a new host brings another program.
func installProgram(dir, name string, program []byte) (path string, err error) {
	if len(program) == 0 {
		return "", fmt.Errorf("cannot install %s: %w", name, errProcessor)
	}
	sum := sha256.Sum256(program)
	path = filepath.Join(dir, name+"-"+hex.EncodeToString(sum[:6]))
	if held, err := regularfile.Read(path, 1<<20); err == nil && sha256.Sum256(held) == sum {
		return path, nil
	}
	// A process forked meanwhile would hold the file open for writing, and the kernel
	// would refuse to execute it.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := atomicfile.Write(path, program, 0o755); err != nil {
		return "", fmt.Errorf("cannot install %s: %w", name, err)
	}
	return path, nil
}

var errProcessor = errors.New("there is none for this processor, only for amd64 and arm64")

// ParseExecErrno returns the error number in a line by which pidone reports on stdout
// that it could not execute its child, or 0 for any other line.
func ParseExecErrno(line string) (errno int) {
	n := 0
	_, _ = fmt.Sscanf(line, "pidone: exec: errno%d", &n) // n stays 0 if the line does not match
	return n
}
