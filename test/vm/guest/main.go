// Command guest is the init process of a small virtual machine. In it, idle plugins have most
// of the memory, a program takes it from them, and the guest says on the console what became of
// them. It then turns the machine off.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Report begins the line of the console that says what happened.
const Report = "guest: "

func main() {
	var err error
	switch filepath.Base(os.Args[0]) {
	case "init": // in the initial RAM disk
		err = switchToDisk()
	case "criu":
		fmt.Fprintln(os.Stderr, becomeCRIU())
		os.Exit(1)
	default:
		err = runScenario()
	}
	if err != nil {
		fmt.Println(Report+"failed:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// switchToDisk loads the modules, makes the disk the root and goes on from there. It returns
// only after an error.
func switchToDisk() error {
	if err := unix.Mount("dev", "/dev", "devtmpfs", 0, ""); err != nil {
		return err
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	const disk = "/disk"
	if err := unix.Mount("/dev/vda", disk, "ext4", 0, ""); err != nil {
		return fmt.Errorf("cannot mount the disk: %w", err)
	}
	for _, m := range []struct{ kind, dir, options string }{
		{"proc", "proc", ""}, {"sysfs", "sys", ""}, {"devtmpfs", "dev", ""}, {"devpts", "dev/pts", ""}, {"tmpfs", "run", ""},
		{"cgroup2", "sys/fs/cgroup", ""},
	} {
		dir := filepath.Join(disk, m.dir)
		_ = os.MkdirAll(dir, 0o755)
		if err := unix.Mount(m.kind, dir, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.dir, err)
		}
	}
	for _, step := range []func() error{
		func() error { return os.Chdir(disk) },
		func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") },
		func() error { return unix.Chroot(".") },
		func() error { return os.Chdir("/") },
		raiseLoopback,
	} {
		if err := step(); err != nil {
			return fmt.Errorf("cannot make the disk the root: %w", err)
		}
	}
	return unix.Exec("/guest", []string{"/guest"}, []string{"PATH=/", "HOME=/"})
}

// becomeCRIU starts CRIU as the file /etc/criu says, with the arguments of this process. It
// returns only after an error.
func becomeCRIU() error {
	text, err := os.ReadFile("/etc/criu")
	if err != nil {
		return err
	}
	command := strings.Split(string(text), "\n")
	return unix.Exec(command[0], append(command, os.Args[1:]...), os.Environ())
}

// loadModules loads the modules in dir, each once those are loaded that it needs.
func loadModules(dir string) error {
	waiting, err := filepath.Glob(dir + "/*.ko")
	if err != nil {
		return err
	}
	for len(waiting) > 0 {
		var later []string
		for _, path := range waiting {
			err := loadModule(path)
			switch {
			case err == nil, errors.Is(err, unix.EEXIST):
			case errors.Is(err, unix.ENOENT): // a module that it needs is not loaded yet
				later = append(later, path)
			default:
				return fmt.Errorf("cannot load %s: %w", path, err)
			}
		}
		if len(later) == len(waiting) {
			return fmt.Errorf("cannot load %v: they need others", later)
		}
		waiting = later
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot open it: %v", err) //nolint:errorlint // not to be taken for a module that is needed
	}
	defer f.Close()
	return unix.FinitModule(int(f.Fd()), "", 0) //nolint:gosec // descriptors are small
}

// raiseLoopback makes the loopback interface usable.
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
