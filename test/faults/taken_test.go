package faults

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dormouse/internal/procfs"
)

// takeSource is a Python program that starts a process with the PID of its argument, says so,
// and waits for its end. Other processes get the PIDs they would have got anyway, which they
// do not when ns_last_pid is set: a CRIU whose children have the same PID one after the other
// fails.
const takeSource = `
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
tid = ctypes.c_int(int(sys.argv[1]))
args = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
child = libc.syscall(435, args, len(args)) # clone3
if child == 0:
    os.execvp("sleep", ["sleep", "1000"])
if child < 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print(child, flush=True)
os.waitpid(child, 0)
`

// take starts a process that has the PID of one which began then and has ended. It
// returns 0 if a stranger was quicker. A number stays taken as that of a process group whose
// leader has ended: take ends what is left of the group, such as a CRIU whose host was killed.
func take(t *testing.T, pid int, began uint64) (taker int) {
	t.Helper()
	var said string
	defer func() {
		if said != "" {
			t.Logf("process %d could not be taken at once: %s", pid, said)
		}
	}()
	until(t, fmt.Sprintf("process %d to be another", pid), func() bool {
		if now := procfs.StartTicks(pid); now != 0 && now != began {
			return true
		}
		var complaint bytes.Buffer
		cmd := exec.Command("python3", "-c", takeSource, strconv.Itoa(pid))
		cmd.Stderr = &complaint
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if line, _ := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != strconv.Itoa(pid) {
			_ = cmd.Wait()
			said = complaint.String()
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			return false
		}
		t.Cleanup(func() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			_ = cmd.Wait()
		})
		taker = pid
		return true
	})
	return taker
}

// unharmed fails the test if the process has ended. A stranger may.
func unharmed(t *testing.T, pid int) {
	t.Helper()
	if pid == 0 {
		return
	}
	if procfs.HasEnded(pid) {
		t.Errorf("process %d was ended", pid)
	}
}

// Numbers of processes that an earlier host wrote down may be others' by now: those
// are neither adopted nor ended.
func TestTakenPID(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, on := range policies {
		t.Run(on, func(t *testing.T) {
			runBeside(t)
			s := newSite(t, policy(on), counter())
			h := s.start("")
			h.settled()
			h.must("Counter.increment", nil, nil)
			host := h.cmd.Process.Pid
			var left struct{ Root int }
			must(t, json.Unmarshal(read(t, filepath.Join(s.root, "run", "Counter", "instance.json")), &left))
			rootBegan, hostBegan := procfs.StartTicks(left.Root), procfs.StartTicks(host)
			must(t, h.cmd.Process.Kill())
			h.killed()
			_ = syscall.Kill(left.Root, syscall.SIGKILL) // with the policy stop it is gone
			root, lock := take(t, left.Root, rootBegan), take(t, host, hostBegan)
			h = s.start("")
			if st := h.settled(); st.PID == left.Root || st.State == "hibernated" {
				t.Errorf("it is %+v", st)
			}
			awake(t, s, h, begin)
			again(t, s, h, begin)
			unharmed(t, root)
			unharmed(t, lock)
		})
	}
}

// A process in the cgroup of a sleeping plugin, or at its socket, is neither woken with
// the plugin nor taken for it.
func TestTakenCgroupAndSocket(t *testing.T) {
	needCRIU(t)
	t.Run("cgroup", func(t *testing.T) {
		s := newSite(t, "", counter())
		h := s.start("")
		h.settled()
		r := s.inspect()
		leaf := r.Cgroups[len(r.Cgroups)-1]
		h.must("Counter.increment", nil, nil)
		h.hibernate("Counter")
		must(t, os.Mkdir(leaf, 0o755))
		sitter := exec.Command("sleep", "1000")
		must(t, sitter.Start())
		must(t, os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(sitter.Process.Pid)), 0))
		h.must("Controller.activate", callsign, nil)
		if err := sitter.Wait(); err == nil {
			t.Error("it was not ended")
		}
		awake(t, s, h, begin+1)
		again(t, s, h, begin+1)
	})
	t.Run("socket", func(t *testing.T) {
		s := newSite(t, "", counter())
		h := s.start("")
		h.settled()
		h.must("Counter.increment", nil, nil)
		h.hibernate("Counter")
		sockets, err := filepath.Glob(filepath.Join(s.root, "run", "Counter", "plugin*"))
		must(t, err)
		if len(sockets) != 1 {
			t.Fatalf("its sockets are %v", sockets)
		}
		must(t, os.Remove(sockets[0]))
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: sockets[0], Net: "unix"})
		must(t, err)
		l.SetUnlinkOnClose(false) // by then the name is the plugin's again
		asked := make(chan bool, 1)
		go func() {
			_, err := l.Accept()
			asked <- err == nil
		}()
		h.must("Controller.activate", callsign, nil)
		awake(t, s, h, begin+1)
		must(t, l.Close())
		if <-asked {
			t.Error("it was asked in the plugin's stead")
		}
		again(t, s, h, begin+1)
	})
}
