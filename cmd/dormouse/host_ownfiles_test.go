package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The host does not start with files that others could change, and says which and how to mend
// that.
func TestFilesOthersCouldChange(t *testing.T) {
	for name, test := range map[string]struct {
		make func(root string) (path string, err error) // something that every user may write
	}{
		"root":          {func(root string) (string, error) { return root, nil }},
		"run directory": {func(root string) (string, error) { return makeDirIn(root, "run") }},
		"images":        {func(root string) (string, error) { return makeDirIn(root, "images") }},
		"programs":      {func(root string) (string, error) { return makeDirIn(root, "bin") }},
		"tokens":        {func(root string) (string, error) { return makeFileIn(root, "tokens", "[]") }},
		"key":           {func(root string) (string, error) { return makeFileIn(root, "key", strings.Repeat("k", 32)) }},
		"criu":          {func(root string) (string, error) { return makeFileIn(root, "criu", "#!/bin/sh") }},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path, err := test.make(root)
			if err == nil {
				err = os.Chmod(path, 0o777)
			}
			if err != nil {
				t.Fatal(err)
			}
			text, flags := "", []string(nil)
			switch name {
			case "key":
				text = "[hibernate]\nkey-file = \"" + path + "\"\n"
			case "criu":
				if flags = []string{"--criu", path}; os.Geteuid() != 0 {
					t.Skip("only root runs CRIU")
				}
			}
			said, err := hostCommand(t, root, text, flags...).CombinedOutput()
			if err == nil || !strings.Contains(string(said), path+": every user may write it; mend that with: chmod go-w "+path) {
				t.Errorf("it ended with %v:\n%s", err, said)
			}
		})
	}
}

func makeDirIn(root, name string) (path string, err error) {
	path = filepath.Join(root, name)
	return path, os.Mkdir(path, 0o700)
}

func makeFileIn(root, name, text string) (path string, err error) {
	path = filepath.Join(root, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// Root runs no program that others could change, whenever it became so.
func TestProgramsOthersCouldChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user may run whatever that user can")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "counter")
	copyFile(t, filepath.Join(examples, "counter"), program, 0o777)
	h := startHost(t, t.TempDir(), fmt.Sprintf("[[plugin]]\ncallsign = \"Counter\"\nexecutable = %q\nstart-mode = \"activated\"\n", program))
	h.wait(t, "ready")
	why := program + ": every user may write it; mend that with: chmod go-w " + program
	h.dormouse(t, "plugin", "show", "Counter").expect(t, exitDone, "deactivated", why)
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitFailed, "!"+why)
	for _, step := range []struct {
		path string
		mode os.FileMode
		code int
	}{{program, 0o755, exitDone}, {dir, 0o777, exitFailed}, {dir, 0o777 | os.ModeSticky, exitDone}} {
		if err := os.Chmod(step.path, step.mode); err != nil {
			t.Fatal(err)
		}
		h.dormouse(t, "plugin", "activate", "Counter").expect(t, step.code)
		h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
	}
	h.end(t)
}

// copyFile copies a file, whose copy gets that mode whatever the umask is.
func copyFile(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, data, mode), os.Chmod(to, mode))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Root serves a checkout that an ordinary user made and has served before, as `make run` does:
// all of it belongs to that user, whose group may write it.
func TestRootServesCheckoutOfUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can serve what belongs to another user")
	}
	const user = 4711
	top := t.TempDir()
	checkout := filepath.Join(top, "checkout")
	for _, name := range []string{"counter", "echo"} {
		copyFile(t, filepath.Join(examples, name), filepath.Join(checkout, "bin", "plugins", name), 0o775)
	}
	copyFile(t, filepath.Join("..", "..", "configs", "sample.toml"), filepath.Join(checkout, "configs", "sample.toml"), 0o664)
	root := filepath.Join(checkout, ".run")
	for _, dir := range []string{filepath.Join(checkout, ".git"), filepath.Join(root, "run"), filepath.Join(root, "images")} {
		if err := os.MkdirAll(dir, 0o775); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(checkout, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o775)
		}
		return errors.Join(err, os.Lchown(path, user, user))
	})
	if err != nil {
		t.Fatal(err)
	}
	serve := func(root string) *exec.Cmd {
		return command(t.Context(), nil, "serve", "--config", filepath.Join(checkout, "configs", "sample.toml"), "--root", root, "--listen", "127.0.0.1:0", "--log-format", "json")
	}
	h := startCommand(t, root, serve(root))
	h.wait(t, "ready")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d:\n%s", code, h.log)
	}

	// With a root elsewhere the user is as any other.
	said, err := serve(filepath.Join(top, "root")).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "it belongs to user 4711; mend that with: chown -h root "+checkout) {
		t.Errorf("with a root outside of the checkout it ended with %v:\n%s", err, said)
	}
}
