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
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/failpoint"
	"dormouse/internal/native"
	"dormouse/internal/procfs"
	"dormouse/internal/reap"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
)

// inheritedVariables are the environment variables that plugins inherit from the host.
var inheritedVariables = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"}

// startProgramAndShakeHands makes the instance's directories, starts the program, given
// by its path, and waits for its handshake. After an error, Stop ends the processes that
// were started.
func (b *Backend) startProgramAndShakeHands(ctx context.Context, program string) (*tree, error) {
	if err := b.host.Remains.checkAndRelease(b.dirName); err != nil {
		return nil, err
	}
	if err := b.clearRunDirAndMakeDirs(); err != nil {
		return nil, err
	}
	paths := b.paths()
	pidone := b.host.Pidone
	if pidone == "" {
		var err error
		if pidone, err = native.InstallPidone(b.host.ProgramsDir); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(pidone)
	if files := b.startConfig.Limits.OpenFiles; files > 0 {
		cmd.Args = append(cmd.Args, "--files", strconv.Itoa(files))
	}
	cmd.Args = append(cmd.Args, program)
	for _, argument := range b.startConfig.Arguments {
		cmd.Args = append(cmd.Args, shell.SubstitutePaths(argument, paths))
	}
	cmd.Dir = b.volatileDir() // of its own: CRIU dumps trees with the same directory one after another
	cmd.Env = b.environment(paths)
	if err := b.writeStartJournal(journal{Phase: phaseStarting, Bound: b.newTreesEndWithHost()}); err != nil {
		return nil, err
	}
	failpoint.Hit("launch.begun")
	t, err := b.startAndWatchTree(func(t *tree) error { return t.startRoot(cmd) })
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", program, err)
	}
	failpoint.Hit("launch.started")
	line, err := t.output.WaitFirstLine(ctx)
	if err != nil {
		if errors.Is(err, output.ErrNoLine) && t.waitBrieflyForEnd() {
			err = t.waitExitError()
		} else if words := t.waitLastWordsError(); words != nil {
			err = fmt.Errorf("%w; %w", err, words)
		}
		return nil, fmt.Errorf("%s did not shake hands: %w", program, err)
	}
	if errno := native.ParseExecErrno(line); errno != 0 {
		return nil, fmt.Errorf("cannot execute %s: %w", program, explainExecErrno(unix.Errno(errno)))
	}
	if t.socket, err = parseHandshake(line, b.runDir()); err != nil {
		return nil, fmt.Errorf("%s does not shake hands as a plugin: %w", program, err)
	}
	t.findAndSetProgramPIDs()
	failpoint.Hit("launch.shaken")
	return t, nil
}

// startAndWatchTree makes a tree with its cgroup and output, whose root startRoot
// starts, watches for its end, and makes it the tree of the backend. The error wraps
// shell.ErrNotSupported if a limit can't be enforced. After an error nothing of the tree
// is left.
func (b *Backend) startAndWatchTree(startRoot func(*tree) error) (*tree, error) {
	outputDir := "" // for pipes
	if !b.newTreesEndWithHost() {
		outputDir = b.runDir()
	}
	if err := b.host.Cgroups.CheckLimits(b.startConfig.Limits); err != nil {
		return nil, err
	}
	t := &tree{exited: make(chan struct{}), begun: time.Now(), bound: b.newTreesEndWithHost()}
	var err error
	if b.host.Cgroups != nil {
		if t.group, err = b.host.Cgroups.makeCgroupKillingOld(b.dirName, cgroupSettings(b.startConfig.Limits)); err != nil {
			return nil, err
		}
	}
	if t.output, err = output.OpenFilesOrPipes(outputDir, b.log, &b.tail, b.limiter); err == nil {
		err = startRoot(t)
	}
	if err != nil {
		if t.pidfd != nil {
			t.pidfd.close()
		}
		return nil, errors.Join(err, t.closeOutputAndRemoveCgroup())
	}
	if t.pidfd == nil { // a restore opens it before it uses the image
		t.pidfd, err = openPidfd(t.root.Pid)
	}
	if err != nil {
		t.kill()
		return nil, errors.Join(err, reap.Child(t.root.Pid, killLimit), t.closeOutputAndRemoveCgroup())
	}
	t.rootStarted = procfs.StartTicks(t.root.Pid)
	t.watchAndReportExit(b.sink.Exited)
	b.setRunningTree(t)
	return t, nil
}

// findTrustedExecutable is findExecutable, and returns an error if the program must not be
// run.
func (h Host) findTrustedExecutable(name string) (path string, err error) {
	path, err = findExecutable(name)
	if err == nil && h.CheckProgram != nil {
		if err := h.CheckProgram(path); err != nil {
			return "", fmt.Errorf("cannot run %s: %w", path, err)
		}
	}
	return path, err
}

// findExecutable returns the absolute path of the program, which it looks for in PATH if
// name has no slash. It returns an error if the file can't be executed.
func findExecutable(name string) (string, error) {
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

// explainExecErrno explains the errors of execve(2) that an operator can mend, and
// returns others as they are.
func explainExecErrno(errno unix.Errno) error {
	switch {
	case errors.Is(errno, unix.ENOEXEC):
		return fmt.Errorf("it is made for another processor, or is not a program: %w", errno)
	case errors.Is(errno, unix.ENOENT):
		return fmt.Errorf("its interpreter or loader is missing: %w", errno)
	}
	return errno
}

// clearRunDirAndMakeDirs makes the instance's run directory, with the volatile directory
// in it, both empty, and its persistent directory, which keeps its files.
func (b *Backend) clearRunDirAndMakeDirs() error {
	err := b.removeRunDir()
	if err == nil {
		err = b.makeRunDirs()
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.persistentDir(), 0o700); err != nil {
		return fmt.Errorf("cannot make the plugin's directory: %w", err)
	}
	return nil
}

// environment returns the plugin's environment, sorted: the variables inherited from the
// host, the configured ones, and those of go-plugin's handshake.
func (b *Backend) environment(paths shell.Paths) []string {
	// CRIU can't checkpoint an io_uring, which some versions of libuv make for Node.
	env := map[string]string{"UV_USE_IO_URING": "0"}
	for _, name := range inheritedVariables {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	for name, value := range b.startConfig.Environment {
		env[name] = shell.SubstitutePaths(value, paths)
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
