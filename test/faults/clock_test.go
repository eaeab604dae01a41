package faults

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clock is the wall clock of a host that was built for it. Like that of a machine
// it can be set, and monotonic time takes no notice.
type clock struct {
	t       *testing.T
	path    string
	program string
}

// jumpSource is what the hosts of these tests have in package time.
const jumpSource = `package time

import (
	"syscall"
	"unsafe"
)

var jumped = func() *int64 {
	path, _ := syscall.Getenv("DORMOUSE_TEST_CLOCK")
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return new(int64)
	}
	defer syscall.Close(fd)
	data, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return (*int64)(unsafe.Pointer(&data[0]))
}()

func jump() int64 {
	if jumped == nil { // while the package is initialized
		return 0
	}
	return *jumped
}
`

// newClock builds a host whose time.Now adds what the clock was set by. Go lets nothing
// below its module cache be replaced, and may itself have been fetched into that: so it is
// called by another path.
func newClock(t *testing.T) *clock {
	t.Helper()
	dir := t.TempDir()
	c := &clock{t: t, path: filepath.Join(dir, "clock"), program: filepath.Join(dir, "dormouse")}
	c.set(0)
	root := filepath.Join(dir, "goroot")
	must(t, os.Symlink(goEnv(t, "GOROOT"), root))
	std := filepath.Join(root, "src", "time")
	const before = "sec, nsec, mono := runtimeNow()\n"
	source := string(read(t, filepath.Join(std, "time.go")))
	if strings.Count(source, before) != 1 {
		t.Fatal("this Go tells the time in another way")
	}
	write(t, filepath.Join(dir, "time.go"), []byte(strings.Replace(source, before, before+"\tsec += jump()\n", 1)))
	write(t, filepath.Join(dir, "jump.go"), []byte(jumpSource))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(std, "time.go"): filepath.Join(dir, "time.go"),
		filepath.Join(std, "jump.go"): filepath.Join(dir, "jump.go"),
	}})
	must(t, err)
	write(t, filepath.Join(dir, "overlay.json"), overlay)
	cmd := exec.Command(filepath.Join(root, "bin", "go"), "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", c.program, "dormouse/cmd/dormouse")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOROOT="+root, "GOTOOLCHAIN=local")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build: %v\n%s", err, out)
	}
	return c
}

// goEnv returns what `go env` says of a variable.
func goEnv(t *testing.T, name string) string {
	t.Helper()
	value, err := exec.Command("go", "env", name).Output()
	must(t, err)
	return strings.TrimSpace(string(value))
}

// set sets the clock by so much from the machine's.
func (c *clock) set(by time.Duration) {
	c.t.Helper()
	text := make([]byte, 8)
	binary.NativeEndian.PutUint64(text, uint64(int64(by/time.Second)))
	f, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE, 0o600) // in place: it is mapped
	must(c.t, err)
	defer f.Close()
	_, err = f.WriteAt(text, 0)
	must(c.t, err)
}

// site is one whose hosts go by the clock.
func (c *clock) site(text string, plugins ...string) *site {
	c.t.Helper()
	s := newSite(c.t, text, plugins...)
	s.program, s.env = c.program, []string{"DORMOUSE_TEST_CLOCK=" + c.path}
	return s
}

const year = 365 * 24 * time.Hour

// A clock that is set changes nothing: sleeping plugins wake as before, and timers are
// neither early nor late.
func TestClockJumps(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	c := newClock(t)
	for name, by := range map[string]time.Duration{"ahead": 10 * year, "back": -10 * year} {
		for what, test := range map[string]func(*testing.T, *clock, time.Duration){
			"asleep": jumpAsleep, "between hosts": jumpBetweenHosts, "idle": jumpIdle, "restart": jumpRestart, "held": jumpHeld,
		} {
			t.Run(what+"/"+name, func(t *testing.T) {
				c := &clock{t, c.path, c.program}
				c.set(0)
				test(t, c, by)
			})
		}
	}
}

func jumpAsleep(t *testing.T, c *clock, by time.Duration) {
	t.Helper()
	s := c.site("", counter())
	h := s.start("")
	h.ready()
	for range 2 { // there, and from there back
		before := h.count().Value
		h.hibernate("Counter")
		c.set(by)
		h.must("Controller.activate", callsign, nil)
		if now := fmt.Sprintf(`"time":"%d-`, time.Now().Add(by).UTC().Year()); !strings.Contains(tail(h.log.String()), now) {
			t.Errorf("its clock was not set: there is no %s in\n%s", now, tail(h.log.String()))
		}
		h.sleptLittle()
		awake(t, s, h, before)
		h.must("Counter.increment", nil, nil)
		by = 0
	}
	again(t, s, h, begin+2)
}

func jumpBetweenHosts(t *testing.T, c *clock, by time.Duration) {
	t.Helper()
	s := c.site("", counter())
	h := s.start("")
	h.ready()
	h.hibernate("Counter")
	h.end()
	c.set(by)
	h = s.start("")
	h.ready()
	audit(t, s, h, "hibernated")
	h.must("Controller.activate", callsign, nil)
	h.sleptLittle()
	again(t, s, h, begin)
}

// sleptLittle fails the test unless the counter was told of a sleep of seconds.
func (h *host) sleptLittle() {
	h.t.Helper()
	var slept time.Duration
	until(h.t, "the counter to say how long it slept", func() bool {
		_, rest, found := strings.Cut(tail(h.log.String()), `"slept":"`)
		text, _, _ := strings.Cut(rest, `"`)
		slept, _ = time.ParseDuration(text)
		return found
	})
	if slept <= 0 || slept > time.Minute {
		h.t.Errorf("it was told that it slept for %v", slept)
	}
}

// What is idle for a moment sleeps after that moment, and not after an hour.
func jumpIdle(t *testing.T, c *clock, by time.Duration) {
	t.Helper()
	lines := []string{`on-call = "wake"`, `idle-hibernate = "300ms"`, `min-awake = "100ms"`}
	late := plugin("Late", programs+"/counter", `on-call = "wake"`, `idle-hibernate = "1h"`)
	s := c.site("", counter(lines...), late)
	h := s.start("")
	h.ready()
	c.set(by)
	h.must("Late.increment", nil, nil) // the host looks at all of them again
	for range 2 {
		until(t, "it to sleep", func() bool { return h.status().State == "hibernated" })
		h.must("Counter.increment", nil, nil)
		c.set(0)
	}
	if i := s.inspect().of("Late"); i.State != "suspended" {
		t.Errorf("there is %+v", i)
	}
	h.end()
	s.inspect()
}

// What has ended is started again after its back-off, and given up after its limit.
func jumpRestart(t *testing.T, c *clock, by time.Duration) {
	t.Helper()
	s := c.site("", counter(`restart = { policy = "on-failure", limit = 2, window = "10m", backoff = "200ms" }`))
	h := s.start("")
	h.ready()
	for range 2 {
		pid := h.settled().PID
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		until(t, "the host to notice", func() bool { return h.status().PID != pid })
		c.set(by)
		until(t, "it to be started again", func() bool { st := h.status(); return st.State == "suspended" && st.PID != 0 })
		by = 0
	}
	must(t, syscall.Kill(h.settled().PID, syscall.SIGKILL))
	until(t, "it to be given up", func() bool { return strings.Contains(h.status().Error, "given up after 2 restarts") })
	s.inspect()
	h.end()
	s.inspect()
}

// A held call is answered, though the wake takes long.
func jumpHeld(t *testing.T, c *clock, by time.Duration) {
	t.Helper()
	s := c.site(impatient, counter(`on-call = "wake"`))
	h := s.start("")
	h.ready()
	value, struck := begin, 0
	for range 10 { // a CRIU may be through before it can be stopped
		c.set(0)
		h.hibernate("Counter")
		stop := strike(h, syscall.SIGSTOP, 20, 1)
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() {
			err := h.ask("Counter.increment", nil, nil)
			cancel() // CRIU may have been quicker than working
			answered <- err
		}()
		working(ctx, h)
		c.set(by)
		if err := <-answered; err != nil {
			t.Errorf("the call that was held: %v", err)
		}
		value++
		if struck = stop(); struck > 0 {
			break
		}
	}
	if struck == 0 {
		t.Error("nothing took its time")
	}
	awake(t, s, h, value)
	again(t, s, h, value)
}
