package memory

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// LockedFiles are files whose contents stay in memory, so that programs start from them also
// when memory is short.
type LockedFiles struct{ mappings [][]byte }

// LockFiles reads the files and keeps them in memory until Close. A file that can't be kept
// is left out; the error names it.
func LockFiles(paths ...string) (l *LockedFiles, err error) {
	l = &LockedFiles{}
	for _, path := range paths {
		if lerr := l.lock(path); lerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot keep %s in memory: %w", path, lerr))
		}
	}
	return l, err
}

// lock maps the file, with all of its pages in memory.
func (l *LockedFiles) lock(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	mapping, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED) //nolint:gosec // descriptors are small
	if err != nil {
		return err
	}
	if err := unix.Mlock(mapping); err != nil {
		return errors.Join(err, unix.Munmap(mapping))
	}
	l.mappings = append(l.mappings, mapping)
	return nil
}

// Close lets the kernel drop the files again. It does nothing to a nil LockedFiles.
func (l *LockedFiles) Close() {
	if l == nil {
		return
	}
	for _, mapping := range l.mappings {
		_ = unix.Munmap(mapping)
	}
	l.mappings = nil
}

// LockOwnProgram keeps in memory what this process uses of its executable file, from the first
// use on.
func LockOwnProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		var begin, end uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x", &begin, &end); n < 2 || !strings.HasSuffix(strings.TrimSpace(line), " "+program) || strings.Contains(line, " rw") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MLOCK2, begin, end-begin, unix.MLOCK_ONFAULT); errno != 0 {
			return fmt.Errorf("cannot keep the host's own program in memory: %w", errno)
		}
	}
	return nil
}
