//go:build !amd64 && !arm64

package tracee

import "errors"

type registers struct{}

var instruction = []byte{0}

const alignment = 1

func (t *thread) get() (registers, error) {
	return registers{}, errors.New("this processor is not known, only amd64 and arm64")
}

func (t *thread) set(registers) error { return nil }

func (r *registers) native() bool { return false }

func (r *registers) enter(uint64, uintptr, []uintptr) {}

func (r *registers) result() int64 { return 0 }
