package criu_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
)

// wakingHostEnv makes the test binary a host that wakes an image: the value is a wakingHost.
const wakingHostEnv = "DORMOUSE_TEST_WAKE"

// wakingHost is what a host needs to wake the image of "Objects". It inherits the pipes.
type wakingHost struct {
	Store, HelperDir string
	Cgroup           cgroup.Dir
	Keys             [2]string
}

// runWakingHost says "begun", wakes the image and says "woken". Then it waits to be killed.
func runWakingHost(text string) {
	var w wakingHost
	err := json.Unmarshal([]byte(text), &w)
	var store *hibernate.Store
	if err == nil {
		store, err = hibernate.OpenStore(w.Store)
	}
	var image *hibernate.Image
	if err == nil {
		image, err = store.ImageDir("Objects").Image()
	}
	engine := criu.Open(os.Getenv("DORMOUSE_CRIU"), w.HelperDir)
	if err == nil {
		err = engine.Check(context.Background())
	}
	if err == nil {
		_, _ = fmt.Fprintln(os.Stdout, "begun")
		_, err = image.Restore(context.Background(), engine, hibernate.WakeOptions{
			Cgroup:  w.Cgroup,
			Files:   []hibernate.Inherited{{Key: w.Keys[0], File: os.NewFile(3, "in")}, {Key: w.Keys[1], File: os.NewFile(4, "out")}},
			Cleanup: func() error { return nil },
		})
	}
	_, _ = fmt.Fprintln(os.Stdout, "woken", err)
	select {}
}

// A wake whose host is killed at any moment leaves nothing that the next host does not undo,
// and the next host wakes the plugin.
func TestWakeAfterKilledHost(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	kills := 1
	if thorough {
		kills = 30
	}
	for i, object := range withNamesOutside {
		t.Run(object, func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(seed, uint64(i)))
			for range kills {
				wakeAfterKilledHost(t, e, program, object, time.Duration(dice.Int64N(int64(60*time.Millisecond))))
			}
		})
	}
}

func wakeAfterKilledHost(t *testing.T, e *criu.Engine, program, object string, after time.Duration) {
	t.Helper()
	h, said := startHolder(t, program, object)
	defer func() { h.end(t) }()
	if said != "ready" {
		t.Fatalf("it says %q before the sleep", said)
	}
	if h.cgroup == "" {
		hibernatetest.SkipOrFail(t, fmt.Errorf("there is no cgroup v2"))
	}
	before := listNames(t, h.dir)
	images, helpers := t.TempDir(), t.TempDir()
	store, err := hibernate.OpenStore(images)
	must(t, err)
	defer store.Close()
	_, err = hibernate.Checkpoint(t.Context(), e, store.ImageDir("Objects"), h)
	must(t, err)
	h.pipes(t)
	h.imageKeys = h.keys

	host := startWakingHost(t, h, wakingHost{images, helpers, h.cgroup, h.imageKeys})
	h.closeTheirs()
	<-time.After(after)
	woken := host.kill(t)
	for len(h.cgroup.Members()) > 0 { // as a host does at its start
		for _, pid := range h.cgroup.Members() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(time.Millisecond)
	}
	next := criu.Open(e.Path(), helpers)
	must(t, next.KillAndRemoveLeftovers())
	checkNoTraces(t, h.dir)
	again, err := hibernate.OpenStore(images) // store does not know what the killed host wrote
	must(t, err)
	defer again.Close()
	image, err := again.ImageDir("Objects").Image()
	if errors.Is(err, hibernate.ErrSpent) {
		return
	}
	must(t, err)
	if woken {
		t.Fatal("the plugin was awake, and its image is not used")
	}
	must(t, h.wake(t, next, image))
	if said := h.check(); said != "ok" {
		t.Errorf("after a host was killed %s after the beginning of the wake it says %q", after, said)
	}
	must(t, image.Discard())
	if after := listNames(t, h.dir); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("there were %v, and are %v", before, after)
	}
}

// runningHost is a wakingHost that has begun.
type runningHost struct {
	cmd   *exec.Cmd
	lines *bufio.Reader
}

// startWakingHost starts a host, and returns when it begins to wake the image.
func startWakingHost(t *testing.T, h *holder, w wakingHost) *runningHost {
	t.Helper()
	text, err := json.Marshal(w)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), wakingHostEnv+"="+string(text))
	cmd.ExtraFiles = h.theirs[:]
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	r := &runningHost{cmd, bufio.NewReader(out)}
	if line, err := r.lines.ReadString('\n'); line != "begun\n" {
		t.Fatalf("the host says %q: %v", line, err)
	}
	return r
}

// kill kills the host, and reports whether the plugin was awake before.
func (r *runningHost) kill(t *testing.T) (woken bool) {
	t.Helper()
	must(t, r.cmd.Process.Kill())
	line, _ := r.lines.ReadString('\n')
	_ = r.cmd.Wait()
	return strings.HasPrefix(line, "woken")
}
