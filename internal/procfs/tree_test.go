package procfs

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

// start runs a shell script, which must say "ready" first. It is killed and
// reaped at the end.
func start(t *testing.T, script string, attributes *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = attributes
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // so that it has nothing to read
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range slices.Backward(Tree(cmd.Process.Pid)) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("it says %q: %v", line, err)
	}
	return cmd
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.After(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestTree(t *testing.T) {
	cmd := start(t, `sleep 1000 & sh -c 'sleep 1000 & echo ready; wait' & wait`, nil)
	tree := Tree(cmd.Process.Pid)
	if len(tree) != 4 || tree[0] != cmd.Process.Pid {
		t.Fatalf("got %v", tree)
	}
	if children := Children(tree[0]); len(children) != 2 || !slices.Equal(children, tree[1:3]) {
		t.Errorf("the children of %v are %v", tree, children)
	}
	if !slices.Contains(Children(os.Getpid()), cmd.Process.Pid) {
		t.Error("it is no child of this process")
	}
}

func TestMissingProcess(t *testing.T) {
	const missing = 1 << 30 // above the largest PID
	if got := Tree(missing); !slices.Equal(got, []int{missing}) {
		t.Errorf("its tree is %v", got)
	}
	if !HasEnded(missing) || IsStopped(missing) || NSPid(missing) != 0 || PSS([]int{missing}) != 0 || RSS([]int{missing}) != 0 {
		t.Error("it has something")
	}
	if u := MeasureMemory([]int{missing}); u != (MemoryUsage{}) {
		t.Errorf("it takes %+v", u)
	}
	if threads, err := ThreadIdentities([]int{missing}); err != nil || len(threads) != 0 {
		t.Errorf("its threads are %v, %v", threads, err)
	}
	if files, err := ExecutedFiles([]int{missing}); err != nil || len(files) != 0 {
		t.Errorf("it has %v mapped: %v", files, err)
	}
	ContinueStopped([]int{missing})
}
