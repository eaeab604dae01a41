// Package pidone carries the program that is pid 1 of every plugin's PID
// namespace. It reaps orphans, passes SIGTERM on and ends with its child's
// status; its source, src/pidone.c, says the rest.
package pidone

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dormouse/internal/atomicfile"
)

// Canary as the only argument makes the program run nothing but a child that
// holds inet sockets.
const Canary = "--canary"

// Install writes the program into dir unless it is there, and returns its path.
// The name holds a digest: a checkpoint refers to the very file, so that one
// must outlive an upgrade of the host.
func Install(dir string) (string, error) {
	if len(program) == 0 {
		return "", errors.New("cannot install pid 1 of the plugins: there is none for this processor, only for amd64 and arm64")
	}
	sum := sha256.Sum256(program)
	path := filepath.Join(dir, "pidone-"+hex.EncodeToString(sum[:6]))
	if held, err := os.ReadFile(path); err == nil && sha256.Sum256(held) == sum {
		return path, nil
	}
	if err := atomicfile.Write(path, program, 0o755); err != nil {
		return "", fmt.Errorf("cannot install pid 1 of the plugins: %w", err)
	}
	return path, nil
}

// ExecErrno returns the error number that the program reported on stdout
// instead of running its child, or 0 when line is no such report.
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
