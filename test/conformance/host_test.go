package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take that takes no time.
const patience = 30 * time.Second

// programs are built once for all runs.
type programs struct{ dormouse, fixture string }

func build(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	p := programs{filepath.Join(dir, "dormouse"), filepath.Join(dir, "fixture")}
	for target, source := range map[string]string{p.dormouse: "dormouse/cmd/dormouse", p.fixture: "dormouse/test/conformance/fixture"} {
		cmd := exec.Command("go", "build", "-ldflags", "-X main.version=v1.2.3-4-gabc", "-o", target, source)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot build %s: %v\n%s", source, err, out)
		}
	}
	return p
}

// host is a real one with the instances of the reference.
type host struct {
	programs
	root    string
	dialect string
	address string
	cmd     *exec.Cmd
}

// start starts the host and returns when it has listened and started what starts
// with it.
func (h *host) start(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("host.toml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(h.root, "dormouse.toml")
	configuration := strings.NewReplacer("FIXTURE", h.fixture, "DIALECT", "thunder-"+h.dialect, "ROOT", h.root).Replace(string(text))
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	h.cmd = exec.Command(h.dormouse, "serve", "--config", config, "--root", h.root, "--listen", "127.0.0.1:0", "--log-format", "json")
	h.cmd.Env = append(os.Environ(), "DORMOUSE_CONFORMANCE=set")
	log, err := os.OpenFile(filepath.Join(h.root, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	h.cmd.Stderr = log
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	poll(t, "the host to be ready", func() bool {
		address, err := os.ReadFile(filepath.Join(h.root, "address"))
		h.address = strings.TrimSpace(string(address))
		return err == nil && strings.Contains(h.log(t), `"ready"`)
	})
}

// stop ends the host in order and fails when it leaves a plugin's process.
func (h *host) stop(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("the host ended with %v; its log:\n%s", err, h.log(t))
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), h.fixture) {
			t.Errorf("%s is left: %q", path, line)
		}
	}
	if err := os.Truncate(filepath.Join(h.root, "log"), 0); err != nil {
		t.Error(err)
	}
}

// writeEmptyFile writes an empty file below the root.
func (h *host) writeEmptyFile(t *testing.T, name string) {
	t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// damage turns one bit of every large file of an image.
func (h *host) damage(t *testing.T, callsign string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.root, "images", callsign, "image", "pages-*.img"))
	if err != nil || len(files) == 0 {
		t.Fatalf("found the files %v, error %v", files, err)
	}
	for _, path := range files {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 1
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *host) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.root, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// poll looks every few milliseconds until done returns true.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
