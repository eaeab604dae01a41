package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/failpoint"
	"dormouse/internal/native"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
)

// passed are the variables of the host's own environment that plugins get.
var passed = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// start runs the program until it has shaken hands, and returns its tree and
// the socket that it listens on. After an error b.tree is whatever has to be
// stopped.
func (b *Backend) start(ctx context.Context, program string) (*tree, string, error) {
	if err := b.makeDirs(); err != nil {
		return nil, "", err
	}
	paths := b.paths()
	cmd := exec.Command(b.host.Pidone)
	if files := b.given.Limits.OpenFiles; files > 0 {
		cmd.Args = append(cmd.Args, "--files", strconv.Itoa(files))
	}
	cmd.Args = append(cmd.Args, program)
	for _, argument := range b.given.Arguments {
		cmd.Args = append(cmd.Args, shell.Substitute(argument, paths))
	}
	cmd.Dir = b.volatileDir() // its own: dumps of trees with the same one wait for each other
	cmd.Env = b.environment(paths)
	if err := b.begin(instance{Phase: starting, Bound: b.bound()}); err != nil {
		return nil, "", err
	}
	failpoint.Hit("launch.begun")
	t, err := b.grow(func(t *tree) error { return t.launch(cmd) })
	if err != nil {
		return nil, "", fmt.Errorf("cannot start %s: %w", program, err)
	}
	failpoint.Hit("launch.started")
	line, err := t.output.FirstLine(ctx)
	if err != nil {
		if errors.Is(err, output.ErrNoLine) && t.endedSoon() {
			err = t.exitError()
		} else if words := t.lastWords(); words != nil {
			err = fmt.Errorf("%w; %w", err, words)
		}
		return nil, "", fmt.Errorf("%s did not shake hands: %w", program, err)
	}
	if errno := native.ExecErrno(line); errno != 0 {
		return nil, "", fmt.Errorf("cannot execute %s: %w", program, execError(unix.Errno(errno)))
	}
	socket, err := parseHandshake(line, b.runDir())
	if err != nil {
		return nil, "", fmt.Errorf("%s does not shake hands as a plugin: %w", program, err)
	}
	t.setProgram()
	failpoint.Hit("launch.shaken")
	return t, socket, nil
}

// grow makes a tree with its own cgroup and log pipes; plant starts its root.
func (b *Backend) grow(plant func(*tree) error) (*tree, error) {
	spools := ""
	if !b.bound() {
		spools = b.runDir()
	}
	t, err := newTree(b.host.Cgroups, b.place, b.given.Limits, spools, b.log, &b.tail)
	if err != nil {
		return nil, err
	}
	t.bound = b.bound()
	if err := plant(t); err != nil {
		return nil, errors.Join(err, t.discard())
	}
	if t.pidfd, err = openPidfd(t.root.Pid); err != nil {
		t.kill()
		_, werr := t.root.Wait()
		return nil, errors.Join(err, werr, t.discard())
	}
	t.watch(func(err error) { b.sink.Exited(err) })
	b.mu.Lock()
	b.tree = t
	b.mu.Unlock()
	return t, nil
}

// executable finds the program and refuses what could not run, before anything
// is started for it.
func executable(name string) (string, error) {
	path := name
	if !strings.Contains(name, "/") {
		found, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("cannot find the executable %s in PATH", name)
		}
		path = found
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "", fmt.Errorf("the executable %s does not exist", path)
	case err != nil:
		return "", fmt.Errorf("cannot use the executable: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is not a file that can be executed", path)
	case info.Mode()&0o111 == 0:
		return "", fmt.Errorf("%s is not executable: chmod +x it", path)
	}
	return filepath.Abs(path)
}

// execError says in words what execve(2) means by the errors that a user can
// mend.
func execError(errno unix.Errno) error {
	switch {
	case errors.Is(errno, unix.ENOEXEC):
		return fmt.Errorf("it is made for another processor or is no program: %w", errno)
	case errors.Is(errno, unix.ENOENT):
		return fmt.Errorf("its interpreter or loader is missing: %w", errno)
	}
	return errno
}

// makeDirs makes the instance's directories; the volatile one is empty then.
func (b *Backend) makeDirs() error {
	if err := os.RemoveAll(b.runDir()); err != nil {
		return fmt.Errorf("cannot clear the run directory: %w", err)
	}
	for _, dir := range []string{b.runDir(), b.volatileDir(), b.persistentDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the plugin's directory: %w", err)
		}
	}
	return nil
}

// environment is the plugin's: little of the host's, go-plugin's handshake and
// what the instance's configuration adds.
func (b *Backend) environment(paths shell.Paths) []string {
	env := make(map[string]string)
	for _, name := range passed {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	for name, value := range b.given.Environment {
		env[name] = shell.Substitute(value, paths)
	}
	// CRIU can't checkpoint MPTCP sockets, which Go listens on by default.
	env["GODEBUG"] = strings.TrimPrefix(env["GODEBUG"]+",multipathtcp=0", ",")
	env[shellpb.CookieKey] = shellpb.CookieValue
	env["PLUGIN_PROTOCOL_VERSIONS"] = strconv.Itoa(shellpb.ProtocolVersion)
	env["PLUGIN_UNIX_SOCKET_DIR"] = b.runDir()
	lines := make([]string, 0, len(env))
	for name, value := range env {
		lines = append(lines, name+"="+value)
	}
	slices.Sort(lines)
	return lines
}
