package obstacles

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
	"dormouse/internal/tracee"
)

// findHeldSemaphores finds processes that hold a System V semaphore with SEM_UNDO, and calls
// that passing: when the dumped tree ends, the kernel releases the semaphore.
func findHeldSemaphores(processes []treeProcess, found *findings) error {
	arrays, err := usedSemaphoreArrays()
	if err != nil || len(arrays) == 0 {
		return err
	}
	for _, p := range processes {
		for _, array := range arrays {
			holds, err := p.holdsSemaphoreOf(array)
			if err != nil {
				return fmt.Errorf("cannot tell whether process %d holds a System V semaphore: %w", p.pid, err)
			}
			if holds {
				found.lookAtProcess(p.pid, "sysv-sem-undo", fmt.Sprintf(", in the array %d", array.id))
			}
		}
	}
	return nil
}

// semaphoreArray is one array of System V semaphores.
type semaphoreArray struct{ id, size int }

// usedSemaphoreArrays returns the arrays of this machine that a process has used.
func usedSemaphoreArrays() (arrays []semaphoreArray, err error) {
	text, err := os.ReadFile("/proc/sysvipc/sem")
	if errors.Is(err, os.ErrNotExist) { // this kernel has none
		return nil, nil
	}
	const id, size, lastUse = 1, 3, 8 // columns
	for line := range strings.Lines(string(text)) {
		columns := strings.Fields(line)
		if len(columns) <= lastUse || columns[lastUse] == "0" {
			continue
		}
		var a semaphoreArray
		var errs [2]error
		a.id, errs[0] = strconv.Atoi(columns[id])
		a.size, errs[1] = strconv.Atoi(columns[size])
		if errors.Join(errs[:]...) == nil { // not the heading
			arrays = append(arrays, a)
		}
	}
	return arrays, err
}

// holdsSemaphoreOf reports whether a thread of the process would change the array by its
// end.
func (p treeProcess) holdsSemaphoreOf(array semaphoreArray) (bool, error) {
	for i, tid := range p.tids {
		if i > 0 && procfs.ShareSemaphores(p.tids[0], tid) {
			continue
		}
		for first := 0; first < array.size; first += semaphoresPerCall {
			if held, err := isAnyHeld(tid, array, first, min(first+semaphoresPerCall, array.size)); held || err != nil {
				return held, err
			}
		}
	}
	return false, nil
}

// isAnyHeld reports whether the end of the thread would change one of the semaphores from
// first to end. The kernel shows no such thing. But it refuses an operation with SEM_UNDO by
// another error if what is to be undone would grow too large: the thread tries operations
// that must fail, one way or the other, and so change nothing.
func isAnyHeld(tid int, array semaphoreArray, first, end int) (bool, error) {
	const attempts = 3 // other processes may change the array meanwhile
	var before []uint16
	for range attempts {
		values, err := array.read()
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIDRM) { // it was removed
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if slices.Equal(values, before) {
			return true, nil
		}
		operations := probingOperations(values, first, end)
		result, err := tracee.SyscallReadingMemory(tid, operations, 1, unix.SYS_SEMOP, uintptr(array.id), 0, uintptr(len(operations)/sizeofOperation))
		if err != nil {
			return false, err
		}
		switch result.Errno {
		case unix.ERANGE:
			before = values
		case 0, unix.EAGAIN, unix.EACCES, unix.EINVAL, unix.EIDRM: // it has ended, holds nothing, may not, or it was removed
			return false, nil
		default:
			return false, result.Errno
		}
	}
	return false, errors.New("it changes all the time")
}

// The size of a struct sembuf, and the number of semaphores that a call of semop(2) can be
// asked for: it takes 500 operations, of which each semaphore needs seven.
const (
	sizeofOperation   = 6
	semaphoresPerCall = 70
)

// probingOperations returns operations on the semaphores from first to end, which have these
// values. They fail with ERANGE if something is to be undone, with EAGAIN otherwise.
func probingOperations(values []uint16, first, end int) []byte {
	const undo, dontWait = 0x1000, 0x800 // SEM_UNDO, IPC_NOWAIT
	const highest = 32767                // of a semaphore, and of what is to be undone
	var operations []byte
	add := func(semaphore, change int, flags uint16) {
		operations = binary.NativeEndian.AppendUint16(operations, uint16(semaphore))
		operations = binary.NativeEndian.AppendUint16(operations, uint16(int16(change)))
		operations = binary.NativeEndian.AppendUint16(operations, flags)
	}
	for i := first; i < end; i++ {
		add(i, highest-int(values[i]), dontWait)
		add(i, -highest, undo|dontWait) // fails if it was lowered
		add(i, highest, undo|dontWait)
		add(i, -highest, dontWait)
		add(i, 1, undo|dontWait)
		add(i, -1, dontWait)
		add(i, highest, undo|dontWait) // fails if it was raised
	}
	last := end - 1
	add(last, 0, dontWait) // fails always: it is not 0 now
	return operations
}

// read returns the values of the array's semaphores.
func (a semaphoreArray) read() ([]uint16, error) {
	const getAll = 13
	values := make([]uint16, a.size)
	_, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(a.id), 0, getAll, uintptr(unsafe.Pointer(unsafe.SliceData(values))), 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return values, nil
}
