package faults

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A host that is replaced in place leaves its plugins running, and callers waiting:
// each gets its answer.
func TestUpgradeInPlace(t *testing.T) {
	needCRIU(t)
	s := newSite(t, "adopt")
	s.program = filepath.Join(filepath.Dir(s.root), "dormouse")
	install(t, s.program)
	h := s.start("")
	pid := h.settled().PID
	old := executing(h)

	calls, stop := make(chan int), make(chan struct{})
	go func() { // the counter tells how many calls arrived
		defer close(calls)
		for answered := 0; ; {
			select {
			case <-stop:
				calls <- answered
				return
			default:
			}
			if err := h.ask("Counter.increment", nil, nil); err != nil {
				t.Errorf("a call failed: %v", err)
				calls <- answered
				return
			}
			answered++
		}
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.log.String())
		}
	})
	install(t, s.program)
	begun := time.Now()
	if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	until(t, "the new program to run", func() bool { now := executing(h); return now != 0 && now != old })
	until(t, "the new program to serve", func() bool { return h.ask("Counter.get", nil, nil) == nil })
	t.Logf("it took %v", time.Since(begun))
	close(stop)
	answered := <-calls
	<-calls
	if got := h.count().Value; answered == 0 || got != begin+answered {
		t.Errorf("%d calls were answered, and it counts %d", answered, got)
	}
	if st := h.settled(); st.PID != pid || st.History[0].Event != "adopt" || st.Reason != "Startup" {
		t.Errorf("it was process %d and is %+v", pid, st)
	}
	audit(t, s, h, "active")
	again(t, s, h, begin+answered)
}

// install puts a copy of the program at path, as a package manager does.
func install(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(programs + "/dormouse")
	if err == nil {
		err = os.WriteFile(path+".new", text, 0o700)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// executing is the file that the host's process executes, 0 in between.
func executing(h *host) uint64 {
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(h.cmd.Process.Pid), "exe"))
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Ino
}
