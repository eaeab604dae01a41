// Package native carries small programs without a Go runtime, which the
// host starts beside plugins. Their sources in src say what they do and why
// they are not written in Go.
package native

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"dormouse/internal/atomicfile"
)

// Canary as the only argument makes pid 1 run nothing but a child that holds
// inet sockets.
const Canary = "--canary"

// InstallPidone returns the path of the program that is pid 1 of a plugin's PID
// namespace. It writes the program into dir unless the program is there.
func InstallPidone(dir string) (string, error) { return install(dir, "pidone", pidone) }

// InstallHold returns the path of the program that holds descriptors until a process has
// ended. It writes the program into dir unless the program is there.
func InstallHold(dir string) (string, error) { return install(dir, "hold", hold) }

// InstallBystander returns the path of the program that lets other processes inspect
// itself. It writes the program into dir unless the program is there.
func InstallBystander(dir string) (string, error) { return install(dir, "bystander", bystander) }

// install returns the path of the program in dir, and writes the program there unless
// it is there. The file's name has a digest of the program: an image refers to that very
// file, which must therefore stay when a new host brings another program.
func install(dir, name string, program []byte) (string, error) {
	if len(program) == 0 {
		return "", fmt.Errorf("cannot install %s: %w", name, errProcessor)
	}
	sum := sha256.Sum256(program)
	path := filepath.Join(dir, name+"-"+hex.EncodeToString(sum[:6]))
	if held, err := os.ReadFile(path); err == nil && sha256.Sum256(held) == sum {
		return path, nil
	}
	// A process that is forked meanwhile would hold the file open for writing, and
	// so keep it from being executed.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := atomicfile.Write(path, program, 0o755); err != nil {
		return "", fmt.Errorf("cannot install %s: %w", name, err)
	}
	return path, nil
}

var errProcessor = errors.New("there is none for this processor, only for amd64 and arm64")

// ExecErrno returns the error number that pid 1 reported on stdout instead of
// running its child, or 0 when line is no such report.
func ExecErrno(line string) int {
	rest, ok := strings.CutPrefix(line, "pidone: exec: errno")
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(rest))
	if err != nil {
		return 0
	}
	return n
}
