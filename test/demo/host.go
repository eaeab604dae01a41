package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const configuration = `[[plugin]]
callsign = "Counter"
executable = %q
resumed = true
configuration = { start = 41 }
`

// host is a `dormouse serve` of the tour's own, with its root in dir.
type host struct {
	program string // of the host and its client
	dir     string
	address string
	cmd     *exec.Cmd
}

func startHost(ctx context.Context, dir string) (*host, error) {
	h := &host{dir: dir}
	var counter string
	for name, path := range map[string]*string{"bin/dormouse": &h.program, "bin/plugins/counter": &counter} {
		found, err := filepath.Abs(name)
		if err == nil {
			_, err = os.Stat(found)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot find %s: run `make build` and start the demo in the same directory", name)
		}
		*path = found
	}
	// As root the host runs no program of a checkout that another user can change.
	counter, err := copyProgram(counter, dir)
	if err != nil {
		return nil, err
	}
	config := h.path("demo.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, configuration, counter), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(h.path("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	h.cmd = exec.Command(h.program, "serve", "--config", config, "--root", h.path("root"),
		"--listen", "127.0.0.1:0", "--log-format", "json")
	h.cmd.Stderr = log
	// Ctrl-C is for the demo, which ends the host in order; if the demo dies the
	// host must not outlive it.
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := h.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the host: %w", err)
	}
	if err := h.await(ctx); err != nil {
		return nil, errors.Join(err, h.end(), errors.New(h.log()))
	}
	return h, nil
}

// copyProgram copies a program into dir, and returns the path of the copy.
func copyProgram(program, dir string) (path string, err error) {
	data, err := os.ReadFile(program)
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, filepath.Base(program))
	return path, os.WriteFile(path, data, 0o700)
}

func (h *host) path(names ...string) string {
	return filepath.Join(append([]string{h.dir}, names...)...)
}

// await returns when the host has written down where it listens.
func (h *host) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(h.path("root", "address"))
		if err == nil {
			h.address = strings.TrimSpace(string(text))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("the host did not start")
		}
	}
}

// end asks the host to end and returns when it has.
func (h *host) end() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return h.cmd.Wait()
}

// gone tells that no process with the host's directory in its command line, or
// in the paths of its open files, is left.
func (h *host) gone() bool {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, process := range processes {
		line, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		if strings.Contains(string(line), h.dir) {
			return false
		}
		files, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
		for _, file := range append(files, filepath.Join(process, "exe")) {
			if target, err := os.Readlink(file); err == nil && strings.HasPrefix(target, h.dir) {
				return false
			}
		}
	}
	return true
}

func (h *host) log() string {
	text, _ := os.ReadFile(h.path("log"))
	return string(text)
}
