package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// What is paged out is the same process before and after, and ends with its host,
// in order or not.
func TestPageOut(t *testing.T) {
	for name, end := range map[string]func(h *testHost){
		"in order": func(h *testHost) {
			if code := h.end(t); code != exitDone {
				t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
			}
			h.wait(t, "counter ended") // it was deinitialized
		},
		"killed": func(h *testHost) {
			if err := h.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			h.exitCode(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			hibernatetest.SwitchSwapOn(t)
			root := t.TempDir()
			configuration := strings.Replace(bothExamples, "configuration =", "sleep = \"pageout\"\nresumed = false\nconfiguration =", 1)
			h := startHost(t, root, configuration)
			h.wait(t, "ready")
			awake := h.show(t, "Counter")
			group := cgroupOf(t, awake.PID)
			if group == "" {
				hibernatetest.SkipOrFail(t, errors.New("there are no cgroups to be had"))
			}
			for range 2 {
				h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone, "Counter hibernated: ", " in the swap, ")
				asleep := h.show(t, "Counter")
				if asleep.State != "hibernated" || asleep.PID != awake.PID || !asleep.sleepsInPlace() || asleep.Image.Bytes == 0 {
					t.Errorf("asleep it is %+v", asleep)
				}
				h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "Counter woken: suspended, pid ", "from the swap")
				h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
			}
			h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
			end(h)

			// The next host finds nothing of it.
			next := startHost(t, root, configuration)
			next.wait(t, "ready")
			if now := next.show(t, "Counter"); now.State != "suspended" || now.PID == awake.PID {
				t.Errorf("in the next host it is %+v", now)
			}
			if code := next.end(t); code != exitDone {
				t.Errorf("the next host ended with code %d", code)
			}
			if left := processesOf(t, root); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
			if _, err := os.Stat(filepath.Dir(group)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the cgroup is left: %v", err)
			}
		})
	}
}
