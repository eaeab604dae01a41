package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dormouse/internal/procfs"
)

// dozing is a site with a plugin that wakes before its memory is read, whose host
// is killed at point in a wake of it. The digest is that of its memory.
func dozing(t *testing.T, point string, mib int) (s *site, h *host, digest string) {
	t.Helper()
	s = newSite(t, policy("adopt"), counter(`wake = "lazy"`))
	h = s.start(point)
	until(t, "the instance to be active", func() bool { return h.status().State == "suspended" })
	for range before - begin {
		h.must("Counter.increment", nil, nil)
	}
	var filled struct{ SHA256 string }
	h.must("Counter.fill", map[string]int{"mib": mib}, &filled)
	h.must("Controller.hibernate", callsign, nil)
	return s, h, filled.SHA256
}

// intact says that the plugin is as it was before its sleep, and that nothing is
// left of the loading.
func intact(t *testing.T, s *site, h *host, digest string) {
	t.Helper()
	for range 2 {
		var got struct{ SHA256 string }
		h.must("Counter.digest", nil, &got)
		if got.SHA256 != digest {
			t.Errorf("its memory is %s, was %s", got.SHA256, digest)
		}
		until(t, "its memory to be loaded", func() bool { return h.status().Loading == nil })
	}
	audit(t, s, h, "active")
	again(t, s, h, before)
}

// loader returns the PID of the counter's loader, 0 without one.
func (s *site) loader() int {
	paths, _ := filepath.Glob(filepath.Join(s.root, "run/Counter/loading/[0-9]*"))
	if len(paths) == 0 {
		return 0
	}
	pid, _ := strconv.Atoi(filepath.Base(paths[0]))
	return pid
}

// A host that is killed while a plugin wakes without its memory leaves the image,
// or a plugin that gets its memory.
func TestKilledInALazyWake(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for point, want := range map[string]string{
		"wake.begun": image, "wake.verified": image, "wake.loaded": image,
		"wake.consumed": lives, "wake.restored": lives, "wake.connected": lives,
	} {
		t.Run(point, func(t *testing.T) {
			runBeside(t)
			s, first, digest := dozing(t, point, 64)
			_ = first.ask("Controller.activate", callsign, nil)
			first.killed()
			second := s.start("")
			st := second.settled()
			if want == image {
				if st.State != "hibernated" {
					t.Errorf("it is %+v", st)
				}
				audit(t, s, second, "hibernated")
				second.must("Controller.activate", callsign, nil)
			} else if st.State == "hibernated" || st.History[0].Event != "adopt" || st.Error != "" {
				t.Errorf("it is %+v", st)
			}
			intact(t, s, second, digest)
		})
	}
}

// stands waits for the loader to stop at its failpoint, with nothing loaded yet, and
// for the image to be used up.
func (s *site) stands() (loader int) {
	s.t.Helper()
	until(s.t, "the loader to stop", func() bool {
		loader = s.loader()
		_, err := os.Stat(filepath.Join(s.root, "images/.used/next-Counter"))
		return loader != 0 && procfs.IsStopped(loader) && os.IsNotExist(err)
	})
	return loader
}

func (s *site) signal(pid int, number syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(pid, number); err != nil {
		s.t.Fatal(err)
	}
}

// A host that is killed before any memory has come in is followed by one that
// finds it coming.
func TestKilledWhileLoading(t *testing.T) {
	needCRIU(t)
	s, first, digest := dozing(t, "load.confirmed stop", 64)
	pid := first.status().PID
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_ = first.ask("Controller.activate", callsign, nil)
	}()
	loader := s.stands()
	_ = first.cmd.Process.Kill()
	first.killed()
	<-asked
	second := s.start("")
	s.signal(loader, syscall.SIGCONT)
	if st := second.settled(); st.PID == pid || st.History[0].Event != "adopt" || st.Error != "" {
		t.Errorf("it was process %d and is %+v", pid, st)
	}
	intact(t, s, second, digest)
}

// A host that is replaced while memory comes in finds it still coming.
func TestUpgradeWhileLoading(t *testing.T) {
	needCRIU(t)
	s, h, digest := dozing(t, "", 250)
	h.must("Controller.activate", callsign, nil)
	loader := s.loader()
	if loader == 0 {
		t.Fatal("no loader is at work for it")
	}
	s.signal(loader, syscall.SIGSTOP) // it must not be through before the host is
	address := filepath.Join(s.root, "address")
	_ = os.Remove(address)
	if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	until(t, "the next program to begin", func() bool { return executing(h) != 0 })
	s.signal(loader, syscall.SIGCONT)
	until(t, "the next program to listen", func() bool {
		text, err := os.ReadFile(address)
		h.setAddress(string(text))
		return err == nil
	})
	if st := h.settled(); st.History[0].Event != "adopt" {
		t.Errorf("it is %+v", st)
	}
	intact(t, s, h, digest)
}

// The loader may be killed as well: the plugin never lives without its memory. It sleeps on
// while its image was not used, and starts cold after that.
func TestKilledLoader(t *testing.T) {
	needCRIU(t)
	const cause = "the process that loaded it has ended"
	t.Run("before the image is used", func(t *testing.T) {
		s, h, digest := dozing(t, "load.begun", 64)
		h.refuses("Controller.activate", cause)
		if st := h.status(); st.State != "hibernated" && st.State != "waking" { // the host tries again
			t.Errorf("it is %+v", st)
		}
		h.end()
		h = s.start("")
		h.settled()
		h.must("Controller.activate", callsign, nil)
		intact(t, s, h, digest)
	})
	t.Run("after the image is used", func(t *testing.T) {
		s, h, _ := dozing(t, "load.confirmed", 64)
		_ = h.ask("Controller.activate", callsign, nil)
		until(t, "the wake to be over", func() bool {
			st := h.status().State
			return st == "suspended" || st == "deactivated"
		})
		if st := h.status(); !strings.Contains(fmt.Sprint(st.History), cause) {
			t.Errorf("it is %+v", st)
		}
		if err := os.RemoveAll(filepath.Join(s.root, "images/Counter/refused")); err != nil { // it can't be woken like this
			t.Error(err)
		}
		h.must("Controller.activate", callsign, nil)
		audit(t, s, h, "active")
		if got := h.count().Value; got != begin {
			t.Errorf("it counts from %d", got)
		}
		h.end()
		audit(t, s, nil, "")
	})
	t.Run("without a host", func(t *testing.T) {
		s, first, _ := dozing(t, "load.confirmed stop", 64)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			_ = first.ask("Controller.activate", callsign, nil)
		}()
		loader := s.stands()
		_ = first.cmd.Process.Kill()
		first.killed()
		<-asked
		s.signal(loader, syscall.SIGKILL)
		second := s.start("")
		if st := second.settled(); st.History[0].Event != "adopt" || !strings.Contains(st.History[1].Error, cause) {
			t.Errorf("it is %+v", st)
		}
		if got := second.count().Value; got != begin {
			t.Errorf("it counts from %d", got)
		}
		audit(t, s, second, "active")
		second.end()
		audit(t, s, nil, "")
	})
}
