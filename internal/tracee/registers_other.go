//go:build !amd64 && !arm64

package tracee

import "errors"

type registers struct{}

var syscallInstruction = []byte{0}

const instructionAlignment = 1

// readRegisters returns the general registers of the stopped thread.
func (t *thread) readRegisters() (registers, error) {
	return registers{}, errors.New("this processor is not known, only amd64 and arm64")
}

// writeRegisters sets the general registers of the stopped thread.
func (t *thread) writeRegisters(registers) error { return nil }

func (r *registers) is64Bit() bool { return false }

func (r *registers) setSyscall(uint64, uintptr, []uintptr) {}

// syscallResult returns the result of a system call that has returned. A negative result
// is an error number.
func (r *registers) syscallResult() int64 { return 0 }
