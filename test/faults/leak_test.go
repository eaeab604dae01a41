package faults

import (
	"io/fs"
	"path/filepath"
	"testing"

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
	must(s.t, filepath.WalkDir(s.root, func(_ string, _ fs.DirEntry, err error) error {
		u.Files++
		return err
	}))
	return u, r.Host.RSS, i.Image
}

// A thousand sleeps leave nothing behind: what there is after fifty is what there
// is in the end, while the plugin is awake and while it sleeps.
func TestThousandSleeps(t *testing.T) {
	needCRIU(t)
	s := newSite(t, "", counter())
	h := s.start("")
	h.ready()
	var early, asleep used
	var memory, image int64
	last := cycles(1000, 100)
	for cycle := 1; cycle <= last; cycle++ {
		h.hibernate("Counter")
		if cycle == last/20 {
			asleep, _, image = s.use()
		}
		if cycle == last {
			now, _, size := s.use()
			if diff := cmp.Diff(asleep, now); diff != "" {
				t.Errorf("asleep, from cycle %d to %d:\n%s", last/20, last, diff)
			}
			t.Logf("the image had %d KiB, and has %d", image>>10, size>>10)
			if size > image+image/2 {
				t.Errorf("the image has grown from %d to %d bytes", image, size)
			}
		}
		h.must("Controller.activate", callsign, nil)
		h.must("Counter.increment", nil, nil)
		if cycle == last/20 {
			early, memory, _ = s.use()
		}
	}
	until(t, "idle connections to be gone", func() bool {
		now, _, _ := s.use()
		return cmp.Equal(early, now)
	})
	now, grown, _ := s.use()
	if diff := cmp.Diff(early, now); diff != "" {
		t.Errorf("awake, from cycle %d to %d:\n%s", last/20, last, diff)
	}
	t.Logf("the host had %d KiB, and has %d", memory>>10, grown>>10)
	if grown > memory+16<<20 {
		t.Errorf("the host has grown from %d to %d bytes", memory, grown)
	}
	if got := h.count().Value; got != begin+last {
		t.Errorf("it counts from %d, want %d", got, begin+last)
	}
	h.end()
	s.inspect()
}
