package procfs

import (
	"os"
	"testing"
)

func TestMemory(t *testing.T) {
	own := []int{os.Getpid()}
	pss, rss := PSS(own), RSS(own)
	if unbacked := UnbackedBytes(own); unbacked <= 0 || unbacked >= rss {
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
	u, pss := MeasureMemory([]int{own}), PSS([]int{own})
	if u.Processes != 1 || u.Resident < pss/2 || u.Resident > pss*2 || u.Shared <= 0 || u.Shared >= u.Resident || u.Virtual <= u.Resident {
		t.Errorf("it takes %+v, PSS is %d", u, pss)
	}
	if twice := MeasureMemory([]int{own, own}); twice.Processes != 2 || twice.Resident < u.Resident*3/2 {
		t.Errorf("twice it takes %+v", twice)
	}

	// The child ends when its parent has become one that does not reap.
	cmd := start(t, `sh -c 'until grep -q sleep /proc/$PPID/comm; do :; done' & echo ready; exec sleep 1000`, nil)
	eventually(t, "a child is a zombie", func() bool {
		children := Children(cmd.Process.Pid)
		return len(children) == 1 && HasEnded(children[0])
	})
	if u := MeasureMemory(Tree(cmd.Process.Pid)); u.Processes != 1 {
		t.Errorf("with a zombie it takes %+v", u)
	}
}
