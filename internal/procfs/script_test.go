package procfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

func TestScriptOf(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"hashbang": "#!/bin/sh\nread line\n", "env": "#!/usr/bin/env -S sh\nread line\n", "plain.sh": "read line\n",
		"config": "read line\n", "other": "#!/bin/cat\nread line\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"named by #!":         {[]string{"./hashbang", "config"}, "hashbang"},
		"named by env":        {[]string{"./env"}, "env"},
		"an argument":         {[]string{"/bin/sh", "-e", "hashbang"}, "hashbang"},
		"without #!":          {[]string{"/bin/sh", filepath.Join(dir, "plain.sh")}, "plain.sh"},
		"no script":           {[]string{"/bin/sh", "config"}, ""},
		"of another program":  {[]string{"/bin/sh", "other"}, ""},
		"only a command line": {[]string{"/bin/sh", "-c", "read line; true"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(test.args[0], test.args[1:]...) //nolint:gosec // they are above
			cmd.Dir = dir
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = in.Close()
				_ = cmd.Wait()
			}()
			want := ""
			if test.want != "" {
				want = filepath.Join(dir, test.want)
			}
			got := ScriptOf(cmd.Process.Pid)
			for range 1000 { // env has not executed the interpreter yet
				if got == want {
					break
				}
				got = ScriptOf(cmd.Process.Pid)
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if files, err := ExecutedFiles([]int{cmd.Process.Pid}); err != nil || want != "" && !slices.Contains(files, want) {
				t.Errorf("it executes %q, error %v", files, err)
			}
		})
	}
}
