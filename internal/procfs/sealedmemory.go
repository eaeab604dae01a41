package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// HasSealedMemory reports whether the process has sealed memory of its own, see
// mseal(2).
func HasSealedMemory(pid int) (bool, error) {
	smaps, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return false, nil // it has ended
	}
	return containsSealedMapping(smaps), err
}

// kernelMappings are the mappings that the kernel makes, and may seal itself.
var kernelMappings = []string{"[sigpage]", "[uprobes]", "[vdso]", "[vectors]", "[vsyscall]", "[vvar]", "[vvar_vclock]"}

// containsSealedMapping reports whether a mapping in the text of a file smaps is sealed and
// does not belong to the kernel.
func containsSealedMapping(smaps []byte) bool {
	mark := []byte(" sl ")
	if !bytes.Contains(smaps, mark) {
		return false // as a rule
	}
	var name string
	for line := range bytes.Lines(smaps) {
		switch {
		case bytes.HasPrefix(line, []byte("VmFlags:")):
			if bytes.Contains(line, mark) && !slices.Contains(kernelMappings, name) {
				return true
			}
		case 'A' > line[0] || line[0] > 'Z': // the first line of a mapping
			name = strings.TrimSpace(skipFields(string(line), 5))
		}
	}
	return false
}
