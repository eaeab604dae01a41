package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// leaf is the cgroup of one plugin's tree.
type leaf struct {
	dir      string
	fd       *os.File // the directory
	settings []setting
}

func (l *leaf) make() (err error) {
	if err = os.Mkdir(l.dir, 0o755); err != nil {
		return err
	}
	if l.fd, err = os.Open(l.dir); err != nil {
		return err
	}
	if err := l.limit(); err != nil {
		return errors.Join(err, l.remove())
	}
	return nil
}

// renew ends every process in the cgroup and puts a new one in its place. In a
// cgroup that has been killed once, Linux (6.18 does) may kill what is cloned
// into it ever after.
func (l *leaf) renew() error {
	if err := l.kill(); err != nil {
		return err
	}
	if err := l.remove(); err != nil {
		return err
	}
	return l.make()
}

// kill ends every process in the cgroup and returns when it is empty.
func (l *leaf) kill() error {
	if err := os.WriteFile(filepath.Join(l.dir, "cgroup.kill"), []byte("1"), 0); err != nil {
		return fmt.Errorf("cannot kill the plugin's cgroup: %w", err)
	}
	return l.waitEmpty()
}

// waitEmpty returns when the last process has left the cgroup: the kernel
// signals each change of cgroup.events as POLLPRI.
func (l *leaf) waitEmpty() error {
	events, err := os.Open(filepath.Join(l.dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	text := make([]byte, 256)
	for range 100 {
		n, err := events.ReadAt(text, 0)
		if n == 0 {
			return err
		}
		if strings.Contains(string(text[:n]), "populated 0") {
			return nil
		}
		poll := []unix.PollFd{{Fd: int32(events.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(poll, 100); err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
	return fmt.Errorf("processes in %s do not end", l.dir)
}

// remove deletes the cgroup, which proves that nothing is in it.
func (l *leaf) remove() error {
	_ = l.fd.Close()
	if err := l.waitEmpty(); err != nil {
		return err
	}
	var dirs []string // the plugin may have made more below
	err := filepath.WalkDir(l.dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		err = errors.Join(err, os.Remove(dir))
	}
	if err != nil {
		return fmt.Errorf("cannot remove the plugin's cgroup: %w", err)
	}
	return nil
}
