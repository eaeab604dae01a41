package criu_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse/hibernate/criu"
	"dormouse/internal/procfs"
)

// checkEnv makes the test binary a host that tries its engine in the directory
// that is the value. All that it starts has the variable too.
const checkEnv = "DORMOUSE_TEST_CHECK"

func check(dir string) {
	if err := criu.Open(os.Getenv("DORMOUSE_CRIU"), dir).Check(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// A host that is killed in its first trial leaves nothing that the next one does
// not clear away.
func TestTidyAfterACheck(t *testing.T) {
	open(t)
	self, err := os.Executable()
	must(t, err)
	for _, moment := range []struct {
		name string
		come func(dir string) bool
	}{
		{"before the dump", func(dir string) bool { return !latest(dir, "canary-*").IsZero() }},
		{"in the dump", func(dir string) bool { return !latest(dir, "criu-*").IsZero() }},
		{"dumped", func(dir string) bool { return !latest(dir, inventory).IsZero() }},
		{"in the restore", func(dir string) bool {
			return !latest(dir, inventory).IsZero() && latest(dir, "criu-*").After(latest(dir, inventory))
		}},
	} {
		t.Run(moment.name, func(t *testing.T) {
			dir := t.TempDir()
			host := exec.Command(self)
			host.Env = append(os.Environ(), checkEnv+"="+dir)
			must(t, host.Start())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = host.Wait()
			}()
			wait(t, moment.name, func() bool {
				select {
				case <-ended: // it was quicker; then there is nothing to tidy
					return true
				default:
					return moment.come(dir)
				}
			})
			_ = host.Process.Kill()
			<-ended
			must(t, criu.Open("", dir).Tidy())
			wait(t, "all to end that it started", func() bool { return len(havingEnv(checkEnv+"="+dir)) == 0 })
			if left, _ := filepath.Glob(filepath.Join(dir, "c*")); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

// inventory is what a dump writes last.
const inventory = "canary-*/images/inventory.img"

// latest is when the youngest of those files was changed, zero when there is none.
func latest(dir, files string) (at time.Time) {
	found, _ := filepath.Glob(filepath.Join(dir, files))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// havingEnv are the processes with the variable.
func havingEnv(variable string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, file := range all {
		text, _ := os.ReadFile(file)
		pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
		if bytes.Contains(text, []byte(variable+"\x00")) && !procfs.HasEnded(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
