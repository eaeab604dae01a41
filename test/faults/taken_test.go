package faults

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"dormouse/internal/procfs"
)

// take starts a process that has the PID of one which began then and has ended. It
// returns nil if a stranger was quicker.
func take(t *testing.T, pid int, began uint64) *exec.Cmd {
	t.Helper()
	var taker *exec.Cmd
	until(t, fmt.Sprintf("process %d to be another", pid), func() bool {
		if now := procfs.StartTicks(pid); now != 0 && now != began {
			return true
		}
		// The kernel gives the next new process the number after this one.
		must(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0))
		cmd := exec.Command("sleep", "1000")
		must(t, cmd.Start())
		if cmd.Process.Pid == pid {
			taker = cmd
			return true
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return false
	})
	if taker != nil {
		t.Cleanup(func() {
			_ = taker.Process.Kill()
			_ = taker.Wait()
		})
	}
	return taker
}

// unharmed fails the test if the process has ended. A stranger may.
func unharmed(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd == nil {
		return
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)); err != nil || string(stat[len(stat)-1:]) == "Z" {
		t.Errorf("process %d was ended: %v", cmd.Process.Pid, err)
	}
	if err := syscall.Kill(cmd.Process.Pid, 0); err != nil {
		t.Error(err)
	}
}

// Numbers of processes that an earlier host wrote down may be others' by now: those
// are neither adopted nor ended.
func TestTakenPID(t *testing.T) {
	needCRIU(t)
	for _, on := range policies {
		t.Run(on, func(t *testing.T) {
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
