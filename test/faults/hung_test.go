package faults

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/internal/procfs"
)

// hangs is at how many moments of a dump or a restore CRIU is stopped.
func hangs() int {
	if thorough {
		return 10
	}
	return 3
}

// impatient has the host wait for CRIU no longer than this.
const impatient = "[hibernate]\ntimeout = \"4s\"\n"

// working returns the CRIUs that work for the host, as soon as there is one; none if there is none
// for long.
func working(ctx context.Context, h *host) (pids []int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for ctx.Err() == nil && len(pids) == 0 {
		for _, pid := range procfs.Children(h.cmd.Process.Pid) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if bytes.Contains(line, []byte("\x00swrk\x00")) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// transfers is how often a process has read or written so far: how far it is with
// its work, whatever the time.
func transfers(pid int) (n int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if key == "syscr" || key == "syscw" {
			calls, _ := strconv.Atoi(value)
			n += calls
		}
	}
	return n
}

// watch follows each CRIU of the host and calls at with what it has transferred,
// until it returns false. The returned function ends that.
func watch(h *host, at func(pid, transfers int) bool) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			pids := working(ctx, h)
			if len(pids) == 0 {
				return
			}
			for n := transfers(pids[0]); n > 0; n = transfers(pids[0]) {
				if !at(pids[0], n) {
					return
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

// measure returns what CRIU transfers in an operation.
func measure(h *host, operation func()) (most int) {
	stop := watch(h, func(_, n int) bool { most = max(most, n); return true })
	operation()
	stop()
	return most
}

// strike sends a signal to the first so many CRIUs that have transferred so much.
func strike(h *host, with syscall.Signal, threshold, times int) (stop func() (hit int)) {
	hit := 0
	last := 0
	end := watch(h, func(pid, n int) bool {
		if n >= threshold && pid != last && syscall.Kill(pid, with) == nil {
			hit, last = hit+1, pid
		}
		return hit < times
	})
	return func() int { end(); return hit }
}

// A dump that hangs ends when its time is over, one whose CRIU is killed at once,
// wherever that is: with the plugin as it was, or the news that it is gone, and the
// next one works.
func TestDumpStruck(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for with, reason := range map[syscall.Signal]string{syscall.SIGSTOP: "CRIU was given up", syscall.SIGKILL: "cannot dump"} {
		t.Run(with.String(), func(t *testing.T) {
			runBeside(t)
			s := newSite(t, impatient, counter())
			h := s.start("")
			h.ready()
			h.hibernate("Counter")
			h.must("Controller.activate", callsign, nil)
			most := measure(h, func() { h.hibernate("Counter") })
			h.must("Controller.activate", callsign, nil)
			struck, died := 0, 0
			for i := range hangs() {
				h.must("Counter.increment", nil, nil)
				value := h.count().Value
				stop := strike(h, with, most*i/hangs(), 1)
				err := h.ask("Controller.hibernate", callsign, nil)
				hit := stop()
				switch st := h.status(); {
				case err == nil && (hit == 0 || with == syscall.SIGKILL): // it had done its work
					h.must("Controller.activate", callsign, nil)
				case err == nil || !strings.Contains(err.Error(), reason):
					t.Errorf("at %d of %d transfers: got %v; it is %+v", most*i/hangs(), most, err, st)
				case st.State == "deactivated": // CRIU was at work inside it
					died++
					h.must("Controller.activate", callsign, nil)
					value = begin
				default:
					struck++
				}
				awake(t, s, h, value)
				h.hibernate("Counter")
				audit(t, s, h, "hibernated")
				h.must("Controller.activate", callsign, nil)
				awake(t, s, h, value)
			}
			t.Logf("of %d dumps %d failed and left the plugin as it was, %d took it along", hangs(), struck, died)
			if struck+died == 0 {
				t.Error("none was hit")
			}
			again(t, s, h, h.count().Value)
		})
	}
}

// A restore that hangs is given up in time for a second one, which finds the image
// as it was, as does the one after a CRIU that was killed. When the second fails
// too, the plugin sleeps on, and wakes as it was once CRIU is left alone.
func TestRestoreStruck(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for with, reason := range map[syscall.Signal]string{syscall.SIGSTOP: "CRIU was given up", syscall.SIGKILL: "cannot restore"} {
		t.Run(with.String(), func(t *testing.T) {
			runBeside(t)
			s := newSite(t, impatient, counter())
			h := s.start("")
			h.ready()
			h.hibernate("Counter")
			h.must("Controller.activate", callsign, nil)
			h.hibernate("Counter")
			most := measure(h, func() { h.must("Controller.activate", callsign, nil) })
			struck := 0
			for i := range hangs() {
				h.must("Counter.increment", nil, nil)
				value := h.count().Value
				h.hibernate("Counter")
				stop := strike(h, with, most*i/hangs(), 1)
				h.must("Controller.activate", callsign, nil)
				struck += stop()
				if st := h.status(); strings.Contains(fmt.Sprint(st), "cannot wake") {
					t.Errorf("at %d of %d transfers: it is %+v", most*i/hangs(), most, st)
				}
				awake(t, s, h, value)
			}
			t.Logf("of %d restores %d were hit", hangs(), struck)
			if struck == 0 {
				t.Error("none was hit")
			}
			h.must("Counter.increment", nil, nil)
			value, hit := h.count().Value, 0
			for n := 0; hit != 2 && n < 10; n++ { // a CRIU may be through before it can be struck
				h.hibernate("Counter")
				stop := strike(h, with, 0, 2)
				err := h.ask("Controller.activate", callsign, nil)
				if hit = stop(); hit == 2 && (err == nil || !strings.Contains(err.Error(), reason)) {
					t.Errorf("hit twice, it answered %v", err)
				}
			}
			if st := h.status(); hit != 2 || st.State != "hibernated" || !strings.Contains(st.Error, reason) {
				t.Errorf("it was hit %d times and is %+v", hit, st)
			}
			audit(t, s, h, "") // hibernated, or woken by a try that the host has made by itself since
			h.wakeInTime("Counter")
			awake(t, s, h, value)
			h.end()
			s.inspect()
		})
	}
}

// A CRIU that hangs from the beginning keeps no host from starting, and no plugin
// from running.
func TestCRIUHangs(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for name, script := range map[string]string{
		"always":    "sleep 1000 # ",
		"in trials": "test -e DIR/asked && { sleep 1000; exit; }; touch DIR/asked; exec ",
	} {
		t.Run(name, func(t *testing.T) {
			runBeside(t)
			dir := t.TempDir()
			wrapper := filepath.Join(dir, "criu")
			script := "#!/bin/sh\n" + strings.ReplaceAll(script, "DIR", dir) + realCRIU(t) + " \"$@\"\n"
			write(t, wrapper, []byte(script))
			must(t, os.Chmod(wrapper, 0o700))
			s := newSite(t, impatient+fmt.Sprintf("criu = %q\n", wrapper), counter())
			h := s.start("")
			h.settled()
			asked := time.Now()
			h.refuses("Controller.hibernate", "hibernation is not available")
			if took := time.Since(asked); took > patience/2 {
				t.Errorf("it took %v", took)
			}
			if got := h.count().Value; got != begin {
				t.Errorf("it counts from %d", got)
			}
			h.end() // also when it is still being tried
			s.inspect()
		})
	}
}

// realCRIU is the one that the host would use.
func realCRIU(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("DORMOUSE_CRIU"); path != "" {
		return path
	}
	return "/usr/local/lib/dormouse/criu/criu"
}
