package procfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// MemorySpan is a range of the memory of a process, from Start up to End.
type MemorySpan struct {
	// ID is the process's number in its own PID namespace.
	ID    int    `json:"id"`
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// DroppableMemory returns the memory of the processes that the kernel may drop at any
// time, see MAP_DROPPABLE in mmap(2). The C library keeps random numbers for
// getrandom(3) in such memory.
func DroppableMemory(pids []int) (spans []MemorySpan, err error) {
	for _, pid := range pids {
		mappings, err := readMappings(pid, "smaps")
		if err != nil {
			return nil, err
		}
		for _, m := range mappings {
			if slices.Contains(m.Flags, "dp") {
				spans = append(spans, MemorySpan{ID: NSPid(pid), Start: m.Start, End: m.End})
			}
		}
	}
	return spans, nil
}

// ZeroMemory writes zeros to the spans in the processes with their IDs, and returns an error
// if one of the processes is not among pids. A program must be ready to find
// droppable memory zeroed at any time, because the kernel does that too.
func ZeroMemory(pids []int, spans []MemorySpan) error {
	for _, s := range spans {
		at := slices.IndexFunc(pids, func(pid int) bool { return NSPid(pid) == s.ID })
		if at < 0 {
			return fmt.Errorf("cannot drop memory of process %d: it is not there", s.ID)
		}
		f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pids[at]), os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("cannot drop memory of process %d: %w", s.ID, err)
		}
		_, err = f.WriteAt(make([]byte, s.End-s.Start), int64(s.Start))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot drop memory of process %d: %w", s.ID, err)
		}
	}
	return nil
}
