package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// newPageOutRig returns a rig whose plugin is configured to be paged out, and runs.
func newPageOutRig(t *testing.T, c configs.Plugin) *rig {
	t.Helper()
	hibernatetest.SwitchSwapOn(t)
	c.Sleep = configs.SleepPageOut
	r := newRig(t, c)
	needCgroups(r)
	r.activate()
	return r
}

// isFrozen reports whether no task of the plugin's cgroup runs.
func (r *rig) isFrozen() bool {
	r.t.Helper()
	events, err := os.ReadFile(filepath.Join(string(r.life.tree.cgroup()), "cgroup.events"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Contains(string(events), "frozen 1")
}

// What a plugin is it is while it is paged out, and after.
func TestPageOut(t *testing.T) {
	r := newPageOutRig(t, counter())
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":20,"pattern":"random"}`).SHA256
	call[any](r, "spawn", `{"depth":3}`)
	pids := r.pids()
	before := procfs.ResidentAnonymousBytes(pids)
	for n := range 3 {
		call[any](r, "increment", "")
		r.hibernate()
		image := r.Sleep()
		if image == nil || image.Engine != "pageout" || image.Kind != shell.InPlace || image.Bytes < 20<<20 {
			t.Fatalf("the image is %+v", image)
		}
		if after := procfs.ResidentAnonymousBytes(pids); !r.isFrozen() || after > before/2 {
			t.Errorf("asleep it is frozen: %v, and %d of %d KiB are resident", r.isFrozen(), after>>10, before>>10)
		}
		if files := r.imageFiles(); len(files) != 0 {
			t.Errorf("in the image store are %v", files)
		}
		r.wake()
		if got := r.count(); got != 42+n || r.Sleep() != nil {
			t.Errorf("awake it counts from %d, its image is %+v", got, r.Sleep())
		}
	}
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
	if got := call[struct{ Alive int }](r, "children", "").Alive; got != 3 {
		t.Errorf("%d of 3 children answer", got)
	}
	if diff := cmp.Diff(pids, r.pids()); diff != "" {
		t.Errorf("its processes differ: %s", diff)
	}
	if strings.Contains(r.log.String(), "counter woke") {
		t.Error("its hooks were called")
	}
	r.checkNoExitReported()
}

// A paged out plugin is stopped by request, as if it were awake.
func TestStopPagedOut(t *testing.T) {
	r := newPageOutRig(t, counter())
	r.hibernate()
	pids, begun := r.pids(), time.Now()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > time.Duration(r.config.StopTimeout)/2 {
		t.Errorf("it took %s", took)
	}
	r.checkGone(pids)
	if r.Sleep() != nil {
		t.Error("there still is an image")
	}
	r.checkNoExitReported()
}

// The end of what is paged out is noticed at once, and its cgroup can be removed.
func TestKilledPagedOut(t *testing.T) {
	r := newPageOutRig(t, counter())
	call[any](r, "spawn", `{"depth":1}`)
	r.hibernate()
	pids := r.pids()
	if err := syscall.Kill(r.ProcessFigures().PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, r.sink.exits); !errors.Is(err, shell.ErrExited) {
		t.Errorf("got %v", err)
	}
	if _, err := r.Wake(r.contextFor(patience)); !errors.Is(err, shell.ErrExited) {
		t.Errorf("the wake of what is gone: %v", err)
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.checkGone(pids)
}

// The configuration, and what the preflight finds, choose how a plugin sleeps.
func TestSleepByPreflight(t *testing.T) {
	needCRIU(t)
	hibernatetest.SwitchSwapOn(t)
	for name, test := range map[string]struct {
		sleep    configs.Sleep
		obstacle bool
		after    *configs.Duration
		engine   string
		want     error
	}{
		"auto":                        {configs.SleepAuto, false, nil, engine.Name(), nil},
		"auto with an obstacle":       {configs.SleepAuto, true, nil, "pageout", nil},
		"checkpoint":                  {configs.SleepCheckpoint, false, nil, engine.Name(), nil},
		"checkpoint with an obstacle": {configs.SleepCheckpoint, true, nil, "", hibernate.ErrObstacle},
		"page out":                    {configs.SleepPageOut, false, nil, "pageout", nil},
		"both":                        {configs.SleepAuto, false, new(configs.Duration(time.Hour)), "pageout", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := counter()
			c.Sleep, c.CheckpointAfter = test.sleep, test.after
			r := newRig(t, c)
			needCgroups(r)
			r.host.Engine = obstructed{r.host.Engine, test.obstacle}
			r.useHost(r.host)
			r.activate()
			err := r.Hibernate(r.contextFor(patience))
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if test.want != nil {
				if got := r.count(); got != 41 || r.Sleep() != nil {
					t.Errorf("it counts from %d, the image is %+v", got, r.Sleep())
				}
				return
			}
			if image := r.Sleep(); image == nil || image.Engine != test.engine {
				t.Fatalf("the image is %+v, want one by %s", image, test.engine)
			}
			r.wake()
			if got := r.count(); got != 41 {
				t.Errorf("it counts from %d", got)
			}
		})
	}
}

// obstructed is an engine that may find an obstacle in every tree.
type obstructed struct {
	hibernate.Engine

	obstacle bool
}

func (o obstructed) ObstaclesAnyTime([]int) error {
	if o.obstacle {
		return hibernate.ErrObstacle
	}
	return nil
}

func (o obstructed) ObstaclesWhenQuiet([]int) error   { return nil }
func (o obstructed) ObstaclesWhenStopped([]int) error { return nil }

// From paged out to an image, and from there awake.
func TestDeepen(t *testing.T) {
	needCRIU(t)
	hibernatetest.SwitchSwapOn(t)
	c := counter()
	c.Sleep, c.CheckpointAfter = configs.SleepAuto, new(configs.Duration(time.Hour))
	r := newRig(t, c)
	needCgroups(r)
	r.activate()
	call[any](r, "increment", "")
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":20}`).SHA256
	for generation := range 2 {
		r.hibernate()
		pids := r.pids()
		if err := r.MoveToDisk(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
		r.checkGone(pids)
		if image := r.Sleep(); image == nil || image.Kind == shell.InPlace || image.Engine != engine.Name() || image.Generation != uint64(generation+1) {
			t.Errorf("the image is %+v", image)
		}
		r.wake()
		if got := r.count(); got != 42 {
			t.Errorf("it counts from %d", got)
		}
		if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
			t.Errorf("its memory is %s, was %s", got, digest)
		}
	}
	r.checkNoExitReported()
}

// What can't be checkpointed sleeps on as it did.
func TestDeepenFails(t *testing.T) {
	needCRIU(t)
	hibernatetest.SwitchSwapOn(t)
	for name, spoil := range map[string]func(r *rig){
		"before it is disturbed": func(r *rig) { r.host.Engine = obstructed{r.host.Engine, true} },
		"in the dump":            func(r *rig) { r.host.Engine = brokenDump{r.host.Engine} },
	} {
		t.Run(name, func(t *testing.T) {
			c := counter()
			c.Sleep, c.CheckpointAfter = configs.SleepAuto, new(configs.Duration(time.Hour))
			r := newRig(t, c)
			needCgroups(r)
			r.activate()
			r.hibernate()
			spoil(r)
			if err := r.MoveToDisk(r.contextFor(patience)); err == nil || errors.Is(err, shell.ErrAwake) || errors.Is(err, shell.ErrExited) {
				t.Fatalf("got %v", err)
			}
			if image := r.Sleep(); image == nil || image.Kind != shell.InPlace || !r.isFrozen() {
				t.Errorf("the image is %+v, frozen: %v", image, r.isFrozen())
			}
			r.wake()
			if got := r.count(); got != 41 {
				t.Errorf("it counts from %d", got)
			}
			r.checkNoExitReported()
		})
	}
}

// brokenDump is an engine that dumps nothing.
type brokenDump struct{ hibernate.Engine }

func (brokenDump) Dump(context.Context, hibernate.DumpOrder) error { return errors.New("broken") }
