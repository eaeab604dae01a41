// Package filenames lists files by how their names begin and end. Unlike a pattern of
// package filepath, no character of a path or name has a meaning of its own.
package filenames

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// PathsIn returns the paths of all entries of dir whose names begin with prefix and end with
// suffix, sorted. A missing directory has no entries.
func PathsIn(dir, prefix, suffix string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		name := entry.Name()
		if len(name) >= len(prefix)+len(suffix) && strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, err
}

// NumbersIn returns the names in dir that are numbers, as the PIDs in /proc and the TIDs in
// /proc/PID/task, in the order of the kernel. It returns none if dir can't be read.
func NumbersIn(dir string) (numbers []int) {
	f, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1) // those that were read count
	for _, name := range names {
		if number, err := strconv.Atoi(name); err == nil {
			numbers = append(numbers, number)
		}
	}
	return numbers
}
