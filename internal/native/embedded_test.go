package native

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestInstall(t *testing.T) {
	dir := t.TempDir()
	path, err := InstallPidone(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.Stat(path)
	if err != nil || first.Mode().Perm() != 0o755 {
		t.Fatalf("got %v, %v", first, err)
	}
	again, err := InstallPidone(dir)
	if err != nil || again != path {
		t.Errorf("got %s, %v, want %s", again, err, path)
	}
	second, err := os.Stat(path)
	if err != nil || !os.SameFile(first, second) {
		t.Errorf("it was written again: %v", err)
	}
	if err := os.WriteFile(path, []byte("damaged"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := InstallPidone(dir); err != nil {
		t.Fatal(err)
	}
	if held, err := os.ReadFile(path); err != nil || !bytes.Equal(held, pidone) {
		t.Errorf("it stays damaged: %v", err)
	}
	other, err := InstallDescriptorHolder(dir)
	if err != nil || other == path {
		t.Errorf("got %s, %v", other, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := InstallPidone(filepath.Join(dir, "file")); err == nil {
		t.Error("it was installed below a file")
	}
	if _, err := installProgram(dir, "none", nil); !errors.Is(err, errProcessor) {
		t.Errorf("got %v", err)
	}
}

func TestExecErrno(t *testing.T) {
	for line, want := range map[string]int{
		"pidone: exec: errno     2": 2,
		"pidone: exec: errno    13": 13,
		"pidone: exec: errno":       0,
		"pidone: exec: errno x":     0,
		"1|1|unix|/run/x|grpc":      0,
		"":                          0,
	} {
		if got := ParseExecErrno(line); got != want {
			t.Errorf("%q: got %d, want %d", line, got, want)
		}
	}
}

// ways are how the host starts pid 1: with root's privileges it is that of a PID
// namespace.
func ways() map[string]*syscall.SysProcAttr {
	ways := map[string]*syscall.SysProcAttr{"no namespace": {Setsid: true}}
	if os.Geteuid() == 0 {
		ways["namespace"] = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID}
	}
	return ways
}

// pid1 is pidone with the arguments, killed when it takes too long.
func pid1(t *testing.T, attributes *syscall.SysProcAttr, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := InstallPidone(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.SysProcAttr = attributes
	return cmd
}

func TestExitStatus(t *testing.T) {
	for name, attributes := range ways() {
		t.Run(name, func(t *testing.T) {
			for script, want := range map[string]int{
				"exit 0":                         0,
				"exit 7":                         7,
				"exit 255":                       255,
				"kill -TERM $$":                  128 + 15,
				"kill -KILL $$":                  128 + 9,
				"kill -SEGV $$":                  128 + 11,
				"(exit 3) & (exit 4) & exit 5":   5,
				`test "$1" = "b c" && exit 6`:    6,
				`test "$COLOR" = gray && exit 8`: 8,
			} {
				cmd := pid1(t, attributes, "/bin/sh", "-c", script, "a", "b c")
				cmd.Env = []string{"COLOR=gray"}
				_ = cmd.Run()
				if got := cmd.ProcessState.ExitCode(); got != want {
					t.Errorf("%s: got %v, want %d", script, cmd.ProcessState, want)
				}
			}
		})
	}
}

func TestOpenFilesAreLimited(t *testing.T) {
	cmd := pid1(t, nil, "--files", "123", "/bin/sh", "-c", `ulimit -Sn; ulimit -Hn; echo "$@"`, "sh", "--files", "7")
	if text, err := cmd.Output(); err != nil || string(text) != "123\n123\n--files 7\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestExecErrnoIsReported(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o755); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]syscall.Errno{
		"/no/such/program": syscall.ENOENT,
		plain:              syscall.EACCES,
		text:               syscall.ENOEXEC,
		text + "/below":    syscall.ENOTDIR,
	} {
		cmd := pid1(t, nil, path)
		out, _ := cmd.Output()
		line := strings.TrimSuffix(string(out), "\n")
		if got := ParseExecErrno(line); got != int(want) || cmd.ProcessState.ExitCode() != 127 {
			t.Errorf("%s: got %q and %v, want errno %d", path, out, cmd.ProcessState, want)
		}
	}
	if err := pid1(t, nil).Run(); err == nil || err.Error() != "exit status 2" {
		t.Errorf("without a program: %v", err)
	}
}

// lines starts cmd and returns what it writes, line by line.
func lines(t *testing.T, cmd *exec.Cmd) func() string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	scanner := bufio.NewScanner(out)
	return func() string {
		if !scanner.Scan() {
			t.Fatalf("it says no more: %v", scanner.Err())
		}
		return scanner.Text()
	}
}

func TestSignalsArePassedOn(t *testing.T) {
	// What this process ignores, as below nohup, the shell would ignore for good.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGHUP, syscall.SIGINT)
	defer signal.Stop(caught)
	for name, attributes := range ways() {
		t.Run(name, func(t *testing.T) {
			cmd := pid1(t, attributes, "/bin/sh", "-c", `
			for s in HUP INT USR1 USR2; do trap "echo $s" $s; done
			trap "echo TERM; exit 9" TERM
			echo ready
			while :; do sleep 0.01; done`) // it runs its traps between its commands
			next := lines(t, cmd)
			if got := next(); got != "ready" {
				t.Fatalf("got %q", got)
			}
			for _, test := range []struct {
				signal syscall.Signal
				want   string
			}{{syscall.SIGHUP, "HUP"}, {syscall.SIGINT, "INT"}, {syscall.SIGUSR1, "USR1"}, {syscall.SIGUSR2, "USR2"}, {syscall.SIGTERM, "TERM"}} {
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
				if got := next(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
			if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 9 {
				t.Errorf("got %v", cmd.ProcessState)
			}
		})
	}
}

// The program starts with no signal blocked, whatever pid 1 does.
func TestProgramHasNoSignalsBlocked(t *testing.T) {
	out, err := pid1(t, nil, "/bin/sh", "-c", "grep SigBlk /proc/self/status").Output()
	if err != nil || strings.TrimSpace(string(out)) != "SigBlk:\t0000000000000000" {
		t.Errorf("got %q, %v", out, err)
	}
}

// Orphans are reaped as they end: none stays as a zombie.
func TestOrphansAreReaped(t *testing.T) {
	for name, attributes := range ways() {
		t.Run(name, func(t *testing.T) {
			cmd := pid1(t, attributes, "/bin/sh", "-c", `
			for i in 1 2 3 4 5; do (sh -c 'exit 1' & exit 0); done
			echo ready
			read x`)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if got := lines(t, cmd)(); got != "ready" {
				t.Fatalf("got %q", got)
			}
			eventually(t, "only the program is left", func() bool { return len(children(t, cmd.Process.Pid)) == 1 })
			_ = in.Close()
			_ = cmd.Wait()
		})
	}
}

// The end of the program is the end of every descendant.
func TestDescendantsEnd(t *testing.T) {
	for name, attributes := range ways() {
		t.Run(name, func(t *testing.T) {
			for name, end := range map[string]func(cmd *exec.Cmd) error{
				"by itself": func(*exec.Cmd) error { return nil },
				"SIGQUIT":   func(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGQUIT) },
			} {
				t.Run(name, func(t *testing.T) {
					last := "read x; exit 3"
					if name != "by itself" {
						last = "trap '' TERM HUP INT; while :; do sleep 1000; done"
					}
					// Many, so that their list takes more than one read.
					cmd := pid1(t, attributes, "/bin/sh", "-c", `
					i=0
					while [ $i -lt 120 ]; do (trap '' TERM; setsid sleep 1000 & exit 0); i=$((i+1)); done
					sh -c 'sleep 1000 & sleep 1000' &
					echo ready; `+last)
					in, err := cmd.StdinPipe()
					if err != nil {
						t.Fatal(err)
					}
					if got := lines(t, cmd)(); got != "ready" {
						t.Fatalf("got %q", got)
					}
					var all []int
					eventually(t, "all run", func() bool { all = descendants(t, cmd.Process.Pid); return len(all) >= 120+3 })
					if err := end(cmd); err != nil {
						t.Fatal(err)
					}
					_ = in.Close()
					_ = cmd.Wait()
					for _, pid := range all {
						if alive(pid) {
							t.Errorf("process %d still runs", pid)
						}
					}
					want := 3
					if name != "by itself" {
						want = 128 + 9
					}
					if cmd.ProcessState.ExitCode() != want {
						t.Errorf("got %v, want %d", cmd.ProcessState, want)
					}
				})
			}
		})
	}
}

// The program dies with pid 1 also where that takes no namespace along.
func TestProgramDiesWithPidone(t *testing.T) {
	for name, attributes := range ways() {
		t.Run(name, func(t *testing.T) {
			cmd := pid1(t, attributes, "/bin/sh", "-c", "echo ready; read x")
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if got := lines(t, cmd)(); got != "ready" {
				t.Fatalf("got %q", got)
			}
			program := children(t, cmd.Process.Pid)[0]
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the program is gone", func() bool { return !alive(program) })
		})
	}
}

func TestCanary(t *testing.T) {
	cmd := pid1(t, nil, Canary)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has two sockets", func() bool {
		pids := children(t, cmd.Process.Pid)
		if len(pids) != 1 {
			return false
		}
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pids[0]))
		sockets := 0
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
				sockets++
			}
		}
		return sockets == 2
	})
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 128+15 {
		t.Errorf("got %v", cmd.ProcessState)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func children(t *testing.T, pid int) []int {
	t.Helper()
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		pids = append(pids, child)
	}
	return pids
}

func descendants(t *testing.T, pid int) []int {
	t.Helper()
	all := children(t, pid)
	for i := 0; i < len(all); i++ {
		all = append(all, children(t, all[i])...)
	}
	return all
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(text, []byte(") Z "))
}

// hold keeps what it was given until a process has ended.
func TestHold(t *testing.T) {
	program, err := InstallDescriptorHolder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	held := exec.Command("sleep", "infinity")
	var n int
	held.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, PidFD: &n}
	if err := held.Start(); err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(n), "pidfd")
	defer pidfd.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	holder := exec.Command(program)
	holder.ExtraFiles = []*os.File{pidfd, write}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if err := write.Close(); err != nil {
		t.Error(err)
	}
	ended := make(chan error)
	go func() {
		_, err := io.Copy(io.Discard, read) // until nobody has the other end
		ended <- err
	}()
	for deadline := time.Now().Add(10 * time.Second); ; { // until it blocks signals
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", holder.Process.Pid))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("it does not block signals: %v\n%s", err, status)
		}
		if bytes.Contains(status, []byte("\nSigBlk:\tfffffffffffbfeff\n")) {
			break
		}
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := holder.Process.Signal(signal); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-ended:
		t.Errorf("it let go: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := held.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = held.Wait() // it was killed
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := holder.Wait(); err != nil {
		t.Error(err)
	}
}

// TestBystander finds it in the namespace that it was sent to, with nothing that
// would hide it from one of the same user.
func TestBystander(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	root := pid1(t, &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID}, Canary)
	if err := root.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = root.Process.Kill()
		_ = root.Wait()
	}()
	path, err := InstallLandlockBystander(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", root.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	cmd := exec.Command(path, "4711", "4712")
	cmd.ExtraFiles = []*os.File{namespace}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	number := strings.TrimSpace(line)
	child, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/" + strings.TrimSpace(string(child)) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\nUid:\t4711\t4711\t4711\t4711\n", "\nGid:\t4712\t4712\t4712\t4712\n", "\nCapPrm:\t0000000000000000\n",
		"\nNSpid:\t" + strings.TrimSpace(string(child)) + "\t" + number + "\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end with its stdin: %v", err)
	}
}

// A plugin takes its own chance when memory is short, also if its host is spared.
func TestOOMScoreIsNotTheSparedHosts(t *testing.T) {
	for before, want := range map[int]string{-100: "0", 100: "100"} {
		t.Run(strconv.Itoa(before), func(t *testing.T) {
			script := fmt.Sprintf(`echo %d >/proc/self/oom_score_adj && exec "$0" /bin/cat /proc/self/oom_score_adj`, before)
			path, err := InstallPidone(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			text, err := exec.Command("/bin/sh", "-c", script, path).CombinedOutput()
			if err != nil && before < 0 {
				t.Skipf("this process may not lower it: %s", text)
			}
			if got := strings.TrimSpace(string(text)); err != nil || got != want {
				t.Errorf("got %q, %v, want %s", got, err, want)
			}
		})
	}
}
