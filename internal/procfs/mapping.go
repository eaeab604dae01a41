package procfs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MappedFiles returns the paths of the regular files that the processes have mapped,
// sorted, each once. It leaves out deleted files and devices.
func MappedFiles(pids []int) ([]string, error) {
	found := make(map[string]bool)
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			// address perms offset dev inode path
			fields := strings.Fields(lines.Text())
			if len(fields) >= 6 && fields[4] != "0" && strings.HasPrefix(fields[5], "/") {
				path := skipFields(lines.Text(), 5)
				if !strings.HasSuffix(path, " (deleted)") && !strings.HasPrefix(path, "/memfd:") && !strings.HasPrefix(path, "/dev/") {
					found[path] = true
				}
			}
		}
		err = lines.Err()
		_ = f.Close()
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return nil, err
		}
	}
	paths := make([]string, 0, len(found))
	for path := range found {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths, nil
}

// MappingNames returns the names of the mappings of the process, sorted, each once:
// paths, and names in brackets such as "[vdso]".
func MappingNames(pid int) []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	var names []string
	last := ""
	for line := range strings.Lines(string(text)) {
		// address perms offset device inode name
		if name := strings.TrimRight(skipFields(line, 5), "\n"); name != "" && name != last {
			names = append(names, name)
			last = name
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// SharedFileMappedAt returns the path of the file that the process has mapped as shared at
// that address, "" if no file with a name is mapped there.
func SharedFileMappedAt(pid int, at uint64) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	for line := range strings.Lines(string(text)) {
		// address perms offset device inode name
		var start, end uint64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &access); err != nil || at < start || end <= at {
			continue
		}
		var st unix.Stat_t
		err := unix.Stat(fmt.Sprintf("/proc/%d/map_files/%x-%x", pid, start, end), &st)
		if err == nil && st.Nlink > 0 && strings.HasSuffix(access, "s") {
			return strings.TrimSpace(skipFields(line, 5))
		}
	}
	return ""
}

// skipFields returns the line after its first n fields. The rest may be a path with
// spaces.
func skipFields(line string, n int) string {
	for range n {
		_, line, _ = strings.Cut(strings.TrimLeft(line, " "), " ")
	}
	return strings.TrimLeft(line, " ")
}
