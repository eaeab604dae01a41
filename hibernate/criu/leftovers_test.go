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

// checkingHostEnv makes the test binary a host that checks its engine in the directory
// that is the value. Its children inherit the variable.
const checkingHostEnv = "DORMOUSE_TEST_CHECK"

func runChecker(dir string) {
	if err := criu.Open(os.Getenv("DORMOUSE_CRIU"), dir).Check(context.Background()); err != nil {
		panic(err)
	}
	os.Exit(0)
}

// KillAndRemoveLeftovers removes the directories of a host that is killed while it checks its
// engine.
func TestTidyAfterACheck(t *testing.T) {
	openEngine(t)
	self, err := os.Executable()
	must(t, err)
	for _, moment := range []struct {
		name string
		come func(dir string) bool
	}{
		{"before the dump", func(dir string) bool { return !latestChange(dir, "canary-*").IsZero() }},
		{"in the dump", func(dir string) bool { return !latestChange(dir, "criu-*").IsZero() }},
		{"dumped", func(dir string) bool { return !latestChange(dir, inventory).IsZero() }},
		{"in the restore", func(dir string) bool {
			return !latestChange(dir, inventory).IsZero() && latestChange(dir, "criu-*").After(latestChange(dir, inventory))
		}},
	} {
		t.Run(moment.name, func(t *testing.T) {
			dir := t.TempDir()
			host := exec.Command(self)
			host.Env = append(os.Environ(), checkingHostEnv+"="+dir)
			must(t, host.Start())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = host.Wait()
			}()
			wait(t, moment.name, func() bool {
				select {
				case <-ended: // the check was quicker; then there is nothing to tidy
					return true
				default:
					return moment.come(dir)
				}
			})
			_ = host.Process.Kill()
			<-ended
			must(t, criu.Open("", dir).KillAndRemoveLeftovers())
			wait(t, "all to end that it started", func() bool { return len(pidsWithVariable(checkingHostEnv+"="+dir)) == 0 })
			if left, _ := filepath.Glob(filepath.Join(dir, "c*")); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
		})
	}
}

// inventory is the file that a dump writes last.
const inventory = "canary-*/images/inventory.img"

// latestChange returns when the last of the files was changed, zero if there are none.
func latestChange(dir, files string) (at time.Time) {
	found, _ := filepath.Glob(filepath.Join(dir, files))
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

// pidsWithVariable returns the processes whose environment has the variable.
func pidsWithVariable(variable string) (pids []int) {
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
