package procfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MemorySpan is a range of the memory of a process, from Start up to End.
type MemorySpan struct {
	// ID is the process's number in its own PID namespace.
	ID    int    `json:"id"`
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// DroppableMemory returns the memory of the processes that the kernel may drop at any
// time, see MAP_DROPPABLE in mmap(2). There getrandom(3) keeps the random numbers that
// it returns next.
func DroppableMemory(pids []int) ([]MemorySpan, error) {
	var spans []MemorySpan
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		found, err := parseDroppableMemory(f)
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
		for _, s := range found {
			s.ID = NSPid(pid)
			spans = append(spans, s)
		}
	}
	return spans, nil
}

// parseDroppableMemory returns the spans of a file smaps whose flags contain "dp".
func parseDroppableMemory(smaps io.Reader) (spans []MemorySpan, err error) {
	var s MemorySpan
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0:
		case fields[0] == "VmFlags:":
			if slices.Contains(fields, "dp") {
				spans = append(spans, s)
			}
		case !strings.HasSuffix(fields[0], ":"): // the first line of a mapping
			if _, err := fmt.Sscanf(fields[0], "%x-%x", &s.Start, &s.End); err != nil {
				return nil, fmt.Errorf("cannot understand smaps: %q: %w", lines.Text(), err)
			}
		}
	}
	return spans, lines.Err()
}

// ZeroMemory writes zeros to the spans, as the kernel does to droppable memory.
// Programs are ready for that at any time.
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
