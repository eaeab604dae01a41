//go:build !amd64 && !arm64

package tracee

import "errors"

// registers stand for the registers of an unknown processor.
type registers struct{}

var syscallInstruction = []byte{0}

const instructionAlignment = 1

// readRegisters returns an error, because it knows amd64 and arm64 only. No other function of
// this file is called then.
func (t *thread) readRegisters() (registers, error) {
	return registers{}, errors.New("this processor is not known, only amd64 and arm64")
}

func (t *thread) writeRegisters(registers) error { return nil }

func (r *registers) is64Bit() bool { return false }

func (r *registers) setSyscall(uint64, uintptr, []uintptr) {}

func (r *registers) stackPointer() uint64 { return 0 }

func (r *registers) syscallResult() int64 { return 0 }
