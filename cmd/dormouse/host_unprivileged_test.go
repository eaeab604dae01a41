package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// When a host without privileges is killed, the trees of its plugins end too, with the
// orphans in them, although no PID namespace ends with their roots.
func TestKilledHostOfOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a host as another user")
	}
	dir := passableDir(t)
	root, config := filepath.Join(dir, "root"), filepath.Join(dir, "dormouse.toml")
	copyFile(t, filepath.Join(examples, "rogue"), filepath.Join(dir, "rogue"), 0o755)
	text := "[[plugin]]\ncallsign = \"Rogue\"\nexecutable = \"./rogue\"\narguments = [\"stubborn\"]\nstart-mode = \"activated\"\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(root, strangerUID, strangerUID); err != nil {
		t.Fatal(err)
	}
	cmd := command(t.Context(), nil, "serve", "--config", config, "--root", root, "--listen", "127.0.0.1:0", "--log-format", "json")
	cmd.Path, cmd.Dir = "/proc/self/exe", dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: strangerUID, Gid: strangerUID}}
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	h.dormouse(t, "call", "Rogue.orphan").expect(t, exitDone)
	late, tick := time.After(testPatience), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for len(processesOf(t, root)) < 5 { // the host, pid 1, the plugin, its child and its orphan
		select {
		case <-late:
			t.Fatalf("there are only %q", processesOf(t, root))
		case <-tick.C:
		}
	}
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for len(processesOf(t, root)) > 0 {
		select {
		case <-late:
			t.Fatalf("left are %q", processesOf(t, root))
		case <-tick.C:
		}
	}
}
