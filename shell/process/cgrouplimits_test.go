package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/internal/cgroup"
	"dormouse/shell"
)

func TestOpenFilesAreLimited(t *testing.T) {
	c := counter()
	c.Limits.OpenFiles = 200
	r := newRig(t, c)
	r.activate()
	r.checkOpenFilesLimit(200)
	needCRIU(t)
	r.hibernate()
	r.wake()
	r.checkOpenFilesLimit(200)
}

// checkOpenFilesLimit fails the test unless the program may have just that many files open.
func (r *rig) checkOpenFilesLimit(files int) {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", r.ProcessFigures().PID))
	_, line, _ := strings.Cut(string(text), "Max open files")
	if want := fmt.Sprintf("%d %d files", files, files); err != nil || !strings.HasPrefix(strings.Join(strings.Fields(line), " "), want) {
		r.t.Errorf("%v; it has the limits\n%s", err, text)
	}
}

// A golden image carries the limit with it, so it can't be used under another one.
func TestOpenFilesReachWarmStarts(t *testing.T) {
	c := counter()
	c.Limits.OpenFiles = 200
	r := newRigWithGolden(t, c)
	r.restartWarm()
	r.checkOpenFilesLimit(200)
	for name, files := range map[string]int{"raised": 500, "lowered": 100} {
		t.Logf("the limit is %s", name)
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
		r.config.Limits.OpenFiles = files
		r.RemoveStaleGolden()
		r.checkColdStart("limits")
		r.checkOpenFilesLimit(files)
		r.restartWarm()
		r.checkOpenFilesLimit(files)
	}
}

// Nothing is started that could take more than it should.
func TestLimitsThatCannotBeEnforced(t *testing.T) {
	for name, cgroups := range map[string]func(*Cgroups) *Cgroups{
		"no cgroups": func(*Cgroups) *Cgroups { return nil },
		"no controllers": func(c *Cgroups) *Cgroups {
			return &Cgroups{dir: c.dir, unavailable: map[string]error{"pids": errNoController}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := rogue()
			c.Limits.Pids = 10
			r := newRig(t, c)
			needCgroups(r)
			h := r.host
			h.Cgroups = cgroups(h.Cgroups)
			r.useHost(h)
			_, err := r.Launch(r.contextFor(patience))
			if !errors.Is(err, shell.ErrInstantiation) || !errors.Is(err, shell.ErrNotSupported) || !strings.Contains(err.Error(), "limits.pids needs") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// fakeCgroup is a directory that looks like one.
func fakeCgroup(t *testing.T, files ...string) *pluginCgroup {
	t.Helper()
	l := &pluginCgroup{Dir: cgroup.Dir(t.TempDir())}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(string(l.Dir), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestLimitsOfACgroup(t *testing.T) {
	want := map[string]string{
		"memory.max": "67108864", "memory.swap.max": "0", "pids.max": "18", "cpu.weight": "50", "memory.high": "",
	}
	l := fakeCgroup(t, "memory.max", "memory.swap.max", "pids.max", "cpu.weight", "memory.high")
	l.settings = cgroupSettings(configs.Limits{Memory: 64 << 20, Swap: new(configs.Bytes), Pids: 10, CPUWeight: 50, OpenFiles: 7})
	if err := l.setLimits(); err != nil {
		t.Fatal(err)
	}
	for name, text := range want {
		if got, err := os.ReadFile(filepath.Join(string(l.Dir), name)); err != nil || string(got) != text {
			t.Errorf("%s holds %q, %v; want %q", name, got, err, text)
		}
	}
	l = fakeCgroup(t, "memory.max") // of a kernel that does not count swap
	l.settings = cgroupSettings(configs.Limits{Memory: 1, Swap: new(configs.Bytes)})
	if err := l.setLimits(); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "limits.swap") {
		t.Errorf("got %v", err)
	}
	if all := cgroupSettings(configs.Limits{OpenFiles: 7}); all != nil {
		t.Errorf("without limits it is told %v", all)
	}
}

// What the kernel ends for want of memory says so, also once it has slept.
func TestMemoryExceeded(t *testing.T) {
	c := counter()
	c.Limits = configs.Limits{Memory: 96 << 20, Swap: new(configs.Bytes), Pids: 64, CPUWeight: 50}
	r := newRig(t, c)
	needCgroups(r)
	if err := r.host.Cgroups.CheckLimits(c.Limits); err != nil {
		t.Skip(err)
	}
	exceed := func(t *testing.T) {
		t.Helper()
		dir := string(r.life.tree.cgroup())
		for file, want := range map[string]string{"memory.max": "100663296", "memory.swap.max": "0", "pids.max": "72", "cpu.weight": "50"} {
			if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s is %q, %v", file, got, err)
			}
		}
		_, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "fill", Params: []byte(`{"mib":256,"pattern":"random"}`)})
		if !errors.Is(err, shell.ErrNotAnswered) {
			t.Errorf("the call returned %v", err)
		}
		exit := receive(t, r.sink.exits)
		if how, ok := errors.AsType[*shell.ExitError](exit); !ok || how.Signal != 9 || !errors.Is(exit, shell.ErrMemoryExceeded) || !errors.Is(exit, shell.ErrExited) {
			t.Errorf("got %v", exit)
		}
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Error(err)
		}
	}
	r.activate()
	t.Run("since its start", exceed)
	needCRIU(t)
	r.activate()
	r.hibernate()
	r.wake()
	t.Run("since its wake", exceed)
}
