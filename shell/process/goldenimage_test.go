package process

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/pack"
	"dormouse/shell"
)

// withWarmStart has later lives begin from the first.
func withWarmStart(c configs.Plugin) configs.Plugin {
	c.WarmStart = true
	return c
}

// newRigWithGolden returns a rig whose plugin was started cold and has a golden image.
func newRigWithGolden(t *testing.T, c configs.Plugin) *rig {
	t.Helper()
	needCRIU(t)
	r := newRig(t, withWarmStart(c))
	r.activateAndMakeGolden()
	return r
}

// activateAndMakeGolden starts the plugin cold and makes its golden image.
func (r *rig) activateAndMakeGolden() {
	r.t.Helper()
	r.activate()
	if err := r.MakeGolden(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
}

// restartWarm ends the plugin and starts it warm.
func (r *rig) restartWarm() *shell.GoldenImage {
	r.t.Helper()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.StartWarm(r.contextFor(patience)); err != nil {
		r.t.Fatal(err)
	}
	return r.StartedFrom()
}

// checkColdStart fails the test unless the plugin, which has ended, has nothing to begin from
// for that reason, and starts cold.
func (r *rig) checkColdStart(reason string) {
	r.t.Helper()
	if _, err := r.StartWarm(r.contextFor(patience)); !errors.Is(err, shell.ErrCold) || !strings.Contains(err.Error(), reason) {
		r.t.Errorf("got %v, want %v and %q", err, shell.ErrCold, reason)
	}
	if _, err := r.GoldenImage(); err == nil || !strings.Contains(err.Error(), reason) {
		r.t.Errorf("why there is none: %v", err)
	}
	for _, name := range r.imageFiles() {
		if name == "golden" {
			r.t.Error("the golden image is still there")
		}
	}
	r.activateAndMakeGolden()
	if got := r.count(); got != r.config.Configuration["start"] {
		r.t.Errorf("it counts from %d", got)
	}
}

func TestWarmStart(t *testing.T) {
	r := newRigWithGolden(t, counter())
	call[any](r, "increment", "")
	for generation := uint64(1); generation <= 3; generation++ {
		image := r.restartWarm()
		if image.Generation != generation {
			t.Errorf("generation %d, want %d", image.Generation, generation)
		}
		r.log.await(t, "counter woke", `"value":41`, fmt.Sprintf(`"generation":%d`, generation))
		if got := r.count(); got != 41 {
			t.Errorf("it counts from %d", got)
		}
		call[any](r, "increment", "")
		if n := receive(t, r.sink.events); n.Event != "changed" {
			t.Errorf("got %+v", n)
		}
		r.checkNoExitReported()
	}
}

// A life that began warm sleeps and wakes as any other, and leaves its beginning as
// it was.
func TestWarmStartAndSleep(t *testing.T) {
	r := newRigWithGolden(t, counter())
	for want := range 3 {
		r.restartWarm()
		call[any](r, "increment", "")
		r.hibernate()
		if image := r.Sleep(); image.Generation != uint64(2*want+2) {
			t.Errorf("it sleeps with generation %d", image.Generation)
		}
		r.wake()
		if got := r.count(); got != 42 {
			t.Errorf("it counts from %d", got)
		}
	}
}

// An image lies where the next host finds it.
func TestWarmStartInTheNextHost(t *testing.T) {
	r := newRigWithGolden(t, counter())
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.restart()
	if image := r.restartWarm(); image.Generation != 1 || r.count() != 41 {
		t.Errorf("it is generation %d and counts from %d", image.Generation, r.count())
	}
}

// What the library keeps of random numbers must not be in two lives, also when the
// memory comes later.
func TestRandomNumbersDifferInEachLife(t *testing.T) {
	for _, mode := range []configs.WakeMode{configs.WakeEager, configs.WakeLazy} {
		t.Run(string(mode), func(t *testing.T) {
			c := rogue("random")
			c.Wake = mode
			r := newRigWithGolden(t, c)
			seen := map[string]bool{call[string](r, "random", ""): true}
			for range 3 {
				r.restartWarm()
				number := call[string](r, "random", "")
				if seen[number] {
					t.Errorf("%s came again", number)
				}
				seen[number] = true
			}
		})
	}
}

// Connections stay while the image is made, and are closed in each life from it.
func TestConnectionsStayWithTheFirstLife(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	needCRIU(t)
	r := newRig(t, withWarmStart(rogue("dial-at-once", listener.Addr().String())))
	r.activate()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := r.MakeGolden(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	call[any](r, "write", `{"text":"still here"}`)
	text := make([]byte, 10)
	if _, err := io.ReadFull(conn, text); err != nil || string(text) != "still here" {
		t.Errorf("got %q, %v", text, err)
	}
	r.restartWarm()
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "write", Params: []byte(`{"text":"me too"}`)}); err == nil {
		t.Error("another life has its connection")
	}
}

func TestLazyWarmStart(t *testing.T) {
	needCRIU(t)
	r := newRig(t, withWarmStart(lazyCounter()))
	r.activate()
	digest := call[struct{ SHA256 string }](r, "fill", `{"mib":64}`).SHA256
	if err := r.MakeGolden(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.restartWarm()
		if r.life.tree.loading == nil {
			t.Fatal("all memory was read before")
		}
		if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
			t.Errorf("its memory is %s, was %s", got, digest)
		}
		call[any](r, "fill", `{"mib":1}`)
	}
	r.restartWarm()
	if err := r.imageDir.DiscardGolden(); err != nil { // what is on its way is held open
		t.Fatal(err)
	}
	r.host.Images.Close()
	if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
		t.Errorf("its memory is %s, was %s", got, digest)
	}
}

// Where plugins may outlive their host, their output goes to files.
func TestWarmStartToOutliveTheHost(t *testing.T) {
	needCRIU(t)
	r := newRig(t, withWarmStart(counter()))
	needCgroups(r)
	h := r.host
	h.Adopt = true
	r.useHost(h)
	r.activateAndMakeGolden()
	for range 2 {
		r.restartWarm()
		if r.life.tree.bound || r.count() != 41 {
			t.Errorf("bound is %v, and it counts from %d", r.life.tree.bound, r.count())
		}
	}
	r.SaveActivationReason(shell.Requested)
	from := r.StartedFrom()
	if err := r.LeaveRunning(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.useHost(r.host)
	if _, err := r.Adopt(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	if now := r.StartedFrom(); now == nil || !now.Created.Equal(from.Created) || now.Generation != from.Generation {
		t.Errorf("it began from %+v, the next host has %+v", from, now)
	}
	r.restartWarm()
}

// A plugin with an obstacle to its golden image passes its events on.
func TestObstacleToGoldenImage(t *testing.T) {
	needCRIU(t)
	r := newRig(t, withWarmStart(counter()))
	h := r.host
	h.Engine = obstructed{engine, true}
	r.useHost(h)
	r.activate()
	if err := r.MakeGolden(r.contextFor(patience)); !errors.Is(err, hibernate.ErrObstacle) {
		t.Errorf("got %v", err)
	}
	call[any](r, "increment", "")
	receive(t, r.sink.events)
}

// otherVersion is an engine of another version.
type otherVersion struct{ hibernate.Engine }

func (otherVersion) Name() string { return "criu 0" }

func TestColdStart(t *testing.T) {
	for name, test := range map[string]struct {
		change func(t *testing.T, r *rig)
		reason string
	}{
		"configuration": {func(_ *testing.T, r *rig) {
			r.config.Configuration = map[string]any{"start": 7}
			r.RemoveStaleGolden()
		}, "what it is started with has changed"},
		"arguments": {func(_ *testing.T, r *rig) {
			r.config.Arguments = []string{"more"}
			r.RemoveStaleGolden()
		}, "what it is started with has changed"},
		"environment": {func(_ *testing.T, r *rig) {
			r.config.Environment = map[string]string{"MORE": "1"}
			r.RemoveStaleGolden()
		}, "what it is started with has changed"},
		"environment of the host": {func(t *testing.T, _ *rig) { t.Helper(); t.Setenv("LC_ALL", "C.UTF-8") }, "what it is started with has changed"},
		"program": {func(t *testing.T, r *rig) {
			t.Helper()
			if err := os.Rename(r.config.Executable, r.config.Executable+".old"); err != nil {
				t.Fatal(err)
			}
			if err := copyProgram(r.config.Executable, filepath.Join(bin, "counter")); err != nil {
				t.Fatal(err)
			}
		}, "its program was replaced"},
		"what an interpreter runs": {func(t *testing.T, r *rig) {
			t.Helper()
			if err := os.WriteFile(r.config.Arguments[0], []byte("newer"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "its program was replaced"},
		"persistent file": {func(t *testing.T, r *rig) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(r.persistentDir(), "settings"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "persistent directory"},
		"data": {func(t *testing.T, r *rig) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(r.config.Data, "table"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "its data directory has changed"},
		"encryption": {func(_ *testing.T, r *rig) {
			r.host.Images.SetPacking(pack.Options{Key: make([]byte, 32), Encrypt: true})
		}, "it is not encrypted"},
		"engine": {func(_ *testing.T, r *rig) {
			r.host.Engine = otherVersion{r.host.Engine}
		}, "it was made by criu"},
		"damaged manifest": {func(t *testing.T, r *rig) {
			t.Helper()
			flipByte(t, filepath.Join(r.dir, "images", "Counter", "golden", "manifest"), 30)
		}, "manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			c := counter()
			c.Executable = filepath.Join(t.TempDir(), "counter")
			c.Data = t.TempDir()
			c.Arguments = []string{filepath.Join(t.TempDir(), "script")}
			if err := os.WriteFile(c.Arguments[0], nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := copyProgram(c.Executable, filepath.Join(bin, "counter")); err != nil {
				t.Fatal(err)
			}
			r := newRigWithGolden(t, c)
			r.restartWarm()
			if err := r.Stop(r.contextFor(patience)); err != nil {
				t.Fatal(err)
			}
			test.change(t, r)
			r.checkColdStart(test.reason)
			r.restartWarm()
		})
	}
}

// What is wrong is found before anything of the image runs.
func TestDamagedGoldenImage(t *testing.T) {
	r := newRigWithGolden(t, counter())
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	flipByte(t, filepath.Join(r.dir, "images", "Counter", "golden", "pages-1.img"), 4096)
	_, err := r.StartWarm(r.contextFor(patience))
	if !errors.Is(err, hibernate.ErrRefused) || errors.Is(err, shell.ErrCold) || !strings.Contains(err.Error(), "pages-1.img is damaged") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(r.runDir()); !errors.Is(err, os.ErrNotExist) || len(r.pids()) > 0 {
		t.Errorf("left are %v and %v", r.pids(), err)
	}
	r.InvalidateGolden(err)
	r.checkColdStart("is damaged")
}

// What fails for a cause that stays is not tried each time.
func TestNothingBeginsFromGoldenImage(t *testing.T) {
	m := &faultyEngine{}
	needCRIU(t)
	r := newRig(t, withWarmStart(counter()))
	m.Engine = engine
	h := r.host
	h.Engine = m
	r.useHost(h)
	r.activateAndMakeGolden()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	m.restore = func(hibernate.RestoreOrder) error { return errors.New("no such luck") }
	_, err := r.StartWarm(r.contextFor(patience))
	if err == nil || errors.Is(err, shell.ErrCold) || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v", err)
	}
	r.InvalidateGolden(err)
	r.activate()
	if err := r.MakeGolden(r.contextFor(patience)); err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("got %v", err)
	}
	if got := r.count(); got != 41 {
		t.Errorf("it counts from %d", got)
	}
}

// A plugin may refuse to begin again.
func TestPluginRefusesWarmStart(t *testing.T) {
	r := newRigWithGolden(t, rogue("once"))
	pids := r.pids()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	_, err := r.StartWarm(r.contextFor(patience))
	if err == nil || errors.Is(err, shell.ErrCold) || !strings.Contains(err.Error(), "I live but once") {
		t.Errorf("got %v", err)
	}
	r.checkGone(append(pids, r.pids()...))
	r.InvalidateGolden(err)
	r.activate()
	if err := r.MakeGolden(r.contextFor(patience)); err == nil || !strings.Contains(err.Error(), "I live but once") {
		t.Errorf("got %v", err)
	}
}

// Who does not want it any more has nothing of it left.
func TestGoldenImageIsNotWanted(t *testing.T) {
	r := newRigWithGolden(t, counter())
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	r.config.WarmStart = false
	r.restart()
	r.host.Images.Close()
	if left := r.imageFiles(); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}

// A plugin that can't have one is as well off as without, and not tried again.
func TestNoGoldenImage(t *testing.T) {
	m := &faultyEngine{}
	needCRIU(t)
	r := newRig(t, withWarmStart(counter()))
	m.Engine = engine
	h := r.host
	h.Engine = m
	r.useHost(h)
	dumps := 0
	m.duringDump = func(hibernate.DumpOrder) {
		dumps++
		if err := os.Chmod(r.host.RunDir, 0o700); err != nil {
			t.Error(err)
		}
	}
	try := func(spoil func(), want string) {
		t.Helper()
		r.activate()
		spoil()
		if err := r.MakeGolden(r.contextFor(patience)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if _, err := r.GoldenImage(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("why there is none: %v", err)
		}
		call[any](r, "increment", "")
		receive(t, r.sink.events)
		if got := r.count(); got != 42 {
			t.Errorf("it counts from %d", got)
		}
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
	}
	litter := func() {
		if err := os.WriteFile(filepath.Join(r.volatileDir(), "litter"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try(litter, "it has litter in its volatile directory")
	try(func() {}, "it has litter in its volatile directory")
	if dumps != 0 {
		t.Errorf("it was dumped %d times", dumps)
	}
	r.config.Arguments = []string{"another"}
	r.RemoveStaleGolden()
	r.activateAndMakeGolden()
	if dumps != 1 {
		t.Errorf("it was dumped %d times", dumps)
	}
}

// A plugin that writes into its persistent directory in each life gets no image that
// nothing can begin from.
func TestGoldenImageOfNoUse(t *testing.T) {
	r := newRigWithGolden(t, counter())
	write := func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(r.persistentDir(), "state"), []byte(time.Now().String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if _, err := r.StartWarm(r.contextFor(patience)); !errors.Is(err, errPersistentChanged) {
		t.Fatalf("got %v", err)
	}
	r.activate()
	if err := r.MakeGolden(r.contextFor(patience)); err == nil || !strings.Contains(err.Error(), "in each of its lives") {
		t.Errorf("got %v", err)
	}
}
