package faults

import (
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// used is what must be the same however often a plugin has slept.
type used struct {
	Descriptors, Children, Goroutines, Processes, Plugin, Files, Cgroups int
	Kinds                                                                map[string]int
}

// use returns what the site uses, and what of that may grow a little.
func (s *site) use() (u used, host, image int64) {
	s.t.Helper()
	r := s.inspect()
	i := r.of("Counter")
	u = used{
		r.Host.Descriptors, r.Host.Children, r.Host.Goroutines, len(r.PIDs), i.Descriptors, 0, len(r.Cgroups), r.Host.Kinds,
	}
	must(s.t, filepath.WalkDir(s.root, func(path string, _ fs.DirEntry, err error) error {
		u.Files++
		if path == s.image("Counter") {
			return fs.SkipDir // it has a file for each thread
		}
		return err
	}))
	return u, r.Host.RSS, i.Image
}

// steady is use once it is the same three times.
func (s *site) steady() (u used, host, image int64) {
	s.t.Helper()
	same := 0
	until(s.t, "nothing to change any more", func() bool {
		var now used
		if now, host, image = s.use(); cmp.Equal(now, u) {
			same++
		} else {
			same = 0
		}
		u = now
		return same == 2
	})
	return u, host, image
}

// comesBackTo fails the test unless the site soon uses what it used then, or has fewer
// goroutines: some end a while after their work, on a busy machine late.
func (s *site) comesBackTo(then used) (host, image int64) {
	s.t.Helper()
	var now used
	for late := time.Now().Add(patience); ; {
		now, host, image = s.use()
		now.Goroutines = max(now.Goroutines, then.Goroutines)
		// SQLite keeps the file of a connection that has ended for the next one, while another is
		// open: closing a file would end all of the process's locks on it.
		if now.Kinds["file"] == then.Kinds["file"]+1 {
			now.Kinds["file"]--
			now.Descriptors--
		}
		if cmp.Equal(then, now) {
			return host, image
		}
		if time.Now().After(late) {
			s.t.Errorf("it does not come back to what it was:\n%s", cmp.Diff(then, now))
			return host, image
		}
	}
}

// A thousand sleeps leave nothing behind: what there is after fifty is what there
// is in the end, while the plugin is awake and while it sleeps.
func TestThousandSleeps(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	s := newSite(t, "", counter())
	h := s.start("")
	h.ready()
	var awake, asleep used
	var memory, image, size int64
	last := cycles(1000, 100)
	for cycle := 1; cycle <= last; cycle++ {
		h.hibernate("Counter")
		switch cycle {
		case last / 20:
			asleep, _, image = s.steady()
		case last:
			_, size = s.comesBackTo(asleep)
		}
		h.must("Controller.activate", callsign, nil)
		h.must("Counter.increment", nil, nil)
		if cycle == last/20 {
			awake, memory, _ = s.steady()
		}
	}
	grown, _ := s.comesBackTo(awake)
	t.Logf("from cycle %d to %d the host went from %d to %d KiB, the image from %d to %d", last/20, last, memory>>10, grown>>10, image>>10, size>>10)
	if grown > memory+16<<20 || size > image+image/2 {
		t.Error("something grows")
	}
	if got := h.count().Value; got != begin+last {
		t.Errorf("it counts from %d, want %d", got, begin+last)
	}
	h.end()
	s.inspect()
}
