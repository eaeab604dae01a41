package tracee

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// systemCall is what threads are to execute.
type systemCall struct {
	number    uintptr
	arguments []uintptr
	memory    []byte // what the call reads, may be nil
	pointer   int    // the index of the argument that is the address of memory
}

// maxMemory is the size of the memory that a system call can read, one page at least.
const maxMemory = 4096

// SyscallReadingMemory makes one thread execute a system call that reads memory; the argument
// with the index pointer is set to its address. The result is zero if the thread has ended.
// Otherwise it is like SyscallInThreads. The process must be stopped: its stack is
// overwritten meanwhile.
func SyscallReadingMemory(tid int, memory []byte, pointer int, number uintptr, arguments ...uintptr) (Result, error) {
	if len(memory) > maxMemory {
		return Result{}, fmt.Errorf("cannot lend %d bytes of memory to a thread", len(memory))
	}
	results, err := traceInOwnThread([]int{tid}, systemCall{number, arguments, memory, pointer})
	return results[tid], err
}

// lentMemory is what a thread had at an address before it was overwritten.
type lentMemory struct {
	address uintptr
	own     []byte // nil if nothing is overwritten
}

// lendMemory puts the memory of the call, if it has any, into the page with the top of the
// thread's stack, and returns the call's arguments.
func (t *thread) lendMemory(call systemCall) ([]uintptr, error) {
	if len(call.memory) == 0 {
		return call.arguments, nil
	}
	address := uintptr(t.registers.stackPointer()-1) &^ (maxMemory - 1)
	own := make([]byte, len(call.memory))
	if _, err := unix.PtracePeekData(t.tid, address, own); err != nil {
		return nil, err
	}
	t.lent = lentMemory{address, own}
	if _, err := unix.PtracePokeData(t.tid, address, call.memory); err != nil {
		return nil, err
	}
	arguments := slices.Clone(call.arguments)
	arguments[call.pointer] = address
	return arguments, nil
}

// takeMemoryBack undoes what lendMemory did.
func (t *thread) takeMemoryBack() error {
	if t.lent.own == nil {
		return nil
	}
	_, err := unix.PtracePokeData(t.tid, t.lent.address, t.lent.own)
	if err == nil {
		t.lent.own = nil
	}
	return err
}
