package procfs

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

func TestNobody(t *testing.T) {
	const nobody = 1 << 30 // above the largest PID
	if got := Tree(nobody); !slices.Equal(got, []int{nobody}) {
		t.Errorf("its tree is %v", got)
	}
	if !Zombie(nobody) || Stopped(nobody) || NSPid(nobody) != 0 || PSS([]int{nobody}) != 0 || RSS([]int{nobody}) != 0 {
		t.Error("it has something")
	}
	if u := Measure([]int{nobody}); u != (Usage{}) {
		t.Errorf("it takes %+v", u)
	}
	if tasks, err := Tasks([]int{nobody}); err != nil || len(tasks) != 0 {
		t.Errorf("its tasks are %v, %v", tasks, err)
	}
	if files, err := MappedFiles([]int{nobody}); err != nil || len(files) != 0 {
		t.Errorf("it has %v mapped: %v", files, err)
	}
	Continue([]int{nobody})
}

func TestStates(t *testing.T) {
	// The name is one that a careless reader of stat would trip over.
	program := filepath.Join(t.TempDir(), "a) Z (b")
	if err := os.Symlink("/bin/sh", program); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, `exec 3<&0; "`+program+`" -c 'echo ready; read x; :' <&3 & wait`, nil)
	pid := Children(cmd.Process.Pid)[0]
	if Stopped(pid) {
		t.Error("it is stopped at once")
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return Stopped(pid) })
	Continue([]int{pid})
	eventually(t, "it runs on", func() bool { return !Stopped(pid) })
	if err := syscall.Kill(cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its parent is a zombie", func() bool { return Zombie(cmd.Process.Pid) })
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

func TestNSPid(t *testing.T) {
	if got := NSPid(os.Getpid()); got != os.Getpid() && got <= 0 {
		t.Errorf("got %d", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	cmd := start(t, "echo ready; read x", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	if got := NSPid(cmd.Process.Pid); got != 1 {
		t.Errorf("got %d", got)
	}
}

func TestMemory(t *testing.T) {
	own := []int{os.Getpid()}
	pss, rss := PSS(own), RSS(own)
	if unbacked := Unbacked(own); unbacked <= 0 || unbacked >= rss {
		t.Errorf("of %d bytes %d are in no file", rss, unbacked)
	}
	if pss < 1<<20 || rss < 1<<20 || rss > 1<<34 {
		t.Errorf("PSS is %d, RSS is %d", pss, rss)
	}
	if twice := RSS([]int{own[0], own[0]}); twice < rss*3/2 {
		t.Errorf("twice it is %d", twice)
	}
}

func TestMeasure(t *testing.T) {
	own := os.Getpid()
	u, pss := Measure([]int{own}), PSS([]int{own})
	if u.Processes != 1 || u.Resident < pss/2 || u.Resident > pss*2 || u.Shared <= 0 || u.Shared >= u.Resident || u.Virtual <= u.Resident {
		t.Errorf("it takes %+v, PSS is %d", u, pss)
	}
	if twice := Measure([]int{own, own}); twice.Processes != 2 || twice.Resident < u.Resident*3/2 {
		t.Errorf("twice it takes %+v", twice)
	}

	// The child ends when its parent has become one that does not reap.
	cmd := start(t, `sh -c 'until grep -q sleep /proc/$PPID/comm; do :; done' & echo ready; exec sleep 1000`, nil)
	eventually(t, "a child is a zombie", func() bool {
		children := Children(cmd.Process.Pid)
		return len(children) == 1 && Zombie(children[0])
	})
	if u := Measure(Tree(cmd.Process.Pid)); u.Processes != 1 {
		t.Errorf("with a zombie it takes %+v", u)
	}
}

func TestMappedFiles(t *testing.T) {
	dir := t.TempDir()
	mapFile := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := f.Truncate(4096); err != nil {
			t.Fatal(err)
		}
		data, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Munmap(data) })
	}
	mapFile("plain")
	mapFile("two  spaces ")
	mapFile("removed")
	if err := os.Remove(filepath.Join(dir, "removed")); err != nil {
		t.Fatal(err)
	}
	files, err := MappedFiles([]int{os.Getpid(), os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(files, self) || !slices.IsSorted(files) {
		t.Errorf("got %q", files)
	}
	var ours []string
	for _, file := range files {
		if rest, ok := strings.CutPrefix(file, dir+"/"); ok {
			ours = append(ours, rest)
		}
	}
	if diff := cmp.Diff([]string{"plain", "two  spaces "}, ours); diff != "" {
		t.Error(diff)
	}
}

func TestTasks(t *testing.T) {
	cmd := start(t, `sleep 1000 & echo ready; exec sleep 1000`, nil) // which does not reap
	pids := Tree(cmd.Process.Pid)
	tasks, err := Tasks([]int{pids[1], pids[0]})
	if err != nil || len(tasks) != 2 {
		t.Fatalf("got %+v, %v", tasks, err)
	}
	if tasks[0].ID != NSPid(pids[0]) || tasks[1].ID != NSPid(pids[1]) {
		t.Errorf("the processes %v are %+v", pids, tasks)
	}
	tasks[1].ID = tasks[0].ID
	if diff := cmp.Diff(tasks[0], tasks[1]); diff != "" {
		t.Error(diff)
	}
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child does not count", func() bool {
		tasks, err = Tasks(pids)
		return err == nil && len(tasks) == 1
	})
	own, err := Tasks([]int{os.Getpid()})
	if err != nil || len(own) < 2 {
		t.Errorf("this process has tasks %+v: %v", own, err)
	}
}

func TestParseTask(t *testing.T) {
	const status = "Name:\ta:b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nPid:\t4712\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n" +
		"Groups:\t10 20 \nNStgid:\t4711\t1\nNSpid:\t4712\t2\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000001\n" +
		"CapBnd:\t000001fffffffffe\nCapAmb:\t0000000000000002\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
	want := Task{
		ID: 2, UID: "1 2 3 4", GID: "5 6 7 8", Groups: "10 20",
		CapInh: "0000000000000000", CapPrm: "000001ffffffffff", CapEff: "0000000000000001", CapBnd: "000001fffffffffe", CapAmb: "0000000000000002",
		NoNewPrivs: "1", Seccomp: "2", Filters: "1",
	}
	got, alive, err := parseTask(status)
	if err != nil || !alive {
		t.Errorf("got %v, %v", alive, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for state, want := range map[string]bool{"R (running)": true, "T (stopped)": true, "t (tracing stop)": true, "D (disk sleep)": true, "Z (zombie)": false, "X (dead)": false} {
		if _, alive, err := parseTask("State:\t" + state + "\n"); err != nil || alive != want {
			t.Errorf("%s: got %v, %v", state, alive, err)
		}
	}
	for _, bad := range []string{"NSpid:\tx\n", "NSpid:\t\n", "NSpid:\n", "NSpid"} {
		if _, _, err := parseTask(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}

func TestUnixPeers(t *testing.T) {
	for _, name := range []string{"s", "with  space", "s2"} {
		path := filepath.Join(t.TempDir(), name)
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		check := func(want int) {
			t.Helper()
			if got, err := UnixPeers(path); err != nil || got != want {
				t.Errorf("%q: got %d, %v, want %d", name, got, err, want)
			}
		}
		check(0)
		pending, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		check(1)
		accepted, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		check(1)
		_ = pending.Close()
		check(1) // the plugin's end is what counts
		_ = accepted.Close()
		check(0)
	}
}
