package procfs

import (
	"os"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestThreadIdentities(t *testing.T) {
	cmd := start(t, `sleep 1000 & echo ready; exec sleep 1000`, nil) // which does not reap
	pids := Tree(cmd.Process.Pid)
	threads, err := ThreadIdentities([]int{pids[1], pids[0]})
	if err != nil || len(threads) != 2 {
		t.Fatalf("got %+v, %v", threads, err)
	}
	if threads[0].ID != NSPid(pids[0]) || threads[1].ID != NSPid(pids[1]) {
		t.Errorf("the processes %v are %+v", pids, threads)
	}
	threads[1].ID = threads[0].ID
	if diff := cmp.Diff(threads[0], threads[1]); diff != "" {
		t.Error(diff)
	}
	if err := syscall.Kill(pids[1], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child does not count", func() bool {
		threads, err = ThreadIdentities(pids)
		return err == nil && len(threads) == 1
	})
	own, err := ThreadIdentities([]int{os.Getpid()})
	if err != nil || len(own) < 2 {
		t.Errorf("this process has threads %+v: %v", own, err)
	}
}

func TestParseThreadStatus(t *testing.T) {
	const status = "Name:\ta:b\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nPid:\t4712\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n" +
		"Groups:\t10 20 \nNStgid:\t4711\t1\nNSpid:\t4712\t2\nCapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000001\n" +
		"CapBnd:\t000001fffffffffe\nCapAmb:\t0000000000000002\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"
	want := ThreadIdentity{
		ID: 2, UID: "1 2 3 4", GID: "5 6 7 8", Groups: "10 20",
		CapInh: "0000000000000000", CapPrm: "000001ffffffffff", CapEff: "0000000000000001", CapBnd: "000001fffffffffe", CapAmb: "0000000000000002",
		NoNewPrivs: "1", Seccomp: "2", Filters: "1",
	}
	got, alive, err := parseThreadStatus(status)
	if err != nil || !alive {
		t.Errorf("got %v, %v", alive, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for state, want := range map[string]bool{"R (running)": true, "T (stopped)": true, "t (tracing stop)": true, "D (disk sleep)": true, "Z (zombie)": false, "X (dead)": false} {
		if _, alive, err := parseThreadStatus("State:\t" + state + "\n"); err != nil || alive != want {
			t.Errorf("%s: got %v, %v", state, alive, err)
		}
	}
	for _, bad := range []string{"NSpid:\tx\n", "NSpid:\t\n", "NSpid:\n", "NSpid"} {
		if _, _, err := parseThreadStatus(bad); err == nil {
			t.Errorf("%q passes", bad)
		}
	}
}
