package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// spoil is one way in which an image can be no longer what was written.
type spoil struct {
	name string
	do   func(t *testing.T, s *site, file string)
	// each reports whether it is done to one file, and therefore tried with every file.
	each bool
}

var spoils = []spoil{
	{"flipped", func(t *testing.T, _ *site, file string) {
		t.Helper()
		text := read(t, file)
		text[len(text)/2] ^= 1
		write(t, file, text)
	}, true},
	{"cut", func(t *testing.T, _ *site, file string) {
		t.Helper()
		write(t, file, read(t, file)[:len(read(t, file))/2])
	}, true},
	{"missing", func(t *testing.T, _ *site, file string) {
		t.Helper()
		must(t, os.Remove(file))
	}, true},
	{"empty", func(t *testing.T, s *site, _ string) {
		t.Helper()
		must(t, os.RemoveAll(s.image("Counter")))
		must(t, os.Mkdir(s.image("Counter"), 0o700))
	}, false},
	{"extra", func(t *testing.T, s *site, _ string) {
		t.Helper()
		write(t, filepath.Join(s.image("Counter"), "pages-9.img"), []byte("more"))
	}, false},
	{"linked", func(t *testing.T, s *site, _ string) {
		t.Helper()
		core := filepath.Join(s.image("Counter"), "core-1.img")
		must(t, os.Rename(core, filepath.Join(s.root, "core")))
		must(t, os.Symlink(filepath.Join(s.root, "core"), core))
	}, false},
}

// However an image is damaged, whichever way it would be woken and however it is
// stored, it is not woken, is put aside with the reason, and the plugin starts cold.
func TestDamagedImage(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, wake := range []string{"eager", "lazy"} {
		for _, stored := range []string{"plain", "encrypted"} {
			t.Run(wake+"/"+stored, func(t *testing.T) {
				runBeside(t)
				damageAll(t, wake, stored)
			})
		}
	}
}

func damageAll(t *testing.T, wake, stored string) {
	t.Helper()
	s := newSite(t, storedAs(t, stored, "[hibernate]\n"), counter(fmt.Sprintf("wake = %q", wake)))
	h := s.start("")
	h.settled()
	h.hibernate("Counter")
	files := s.files("Counter")
	h.must("Controller.activate", callsign, nil)
	for _, sp := range spoils {
		if !sp.each {
			damage(t, s, h, sp, "")
			continue
		}
		for _, file := range files {
			if file != manifest { // the host knows what it says
				damage(t, s, h, sp, file)
			}
		}
	}
	h.end()
	if r := s.inspect(); r.of("Counter").Image != 0 {
		t.Errorf("there is %+v", r.Instances)
	}
}

// The next host believes nothing but what it finds.
func TestImageDamagedWithoutHost(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	s := newSite(t, "", counter())
	h := s.start("")
	h.settled()
	for _, sp := range spoils {
		h.must("Counter.increment", nil, nil)
		h.hibernate("Counter")
		h.end()
		sp.do(t, s, filepath.Join(s.image("Counter"), manifest))
		h = s.start("")
		h.settled()
		h.must("Controller.activate", callsign, nil)
		if got := h.count().Value; got != begin {
			t.Errorf("%s: it counts from %d", sp.name, got)
		}
		if i := s.inspect().of("Counter"); i.State != "suspended" || !i.Refused {
			t.Errorf("%s: there is %+v", sp.name, i)
		}
	}
	h.end()
	s.inspect()
}

// What is not this host's last image of this instance is not woken, neither by the
// host that made it nor by the next.
func TestImageOfAnother(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for name, put := range map[string]func(t *testing.T, s *site){
		"swapped": func(t *testing.T, s *site) {
			t.Helper()
			aside := filepath.Join(s.root, "aside")
			must(t, os.Rename(s.image("Counter"), aside))
			must(t, os.Rename(s.image("Other"), s.image("Counter")))
			must(t, os.Rename(aside, s.image("Other")))
		},
		"replayed": func(t *testing.T, s *site) {
			t.Helper()
			for _, callsign := range []string{"Counter", "Other"} {
				must(t, os.RemoveAll(s.image(callsign)))
				must(t, os.CopyFS(s.image(callsign), os.DirFS(filepath.Join(s.root, "copy", callsign, "image"))))
			}
		},
		"foreign": func(t *testing.T, s *site) {
			t.Helper()
			foreign := asleep(t)
			for _, callsign := range []string{"Counter", "Other"} {
				must(t, os.RemoveAll(s.image(callsign)))
				must(t, os.CopyFS(s.image(callsign), os.DirFS(foreign.image(callsign))))
			}
		},
	} {
		for _, next := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/next=%v", name, next), func(t *testing.T) {
				runBeside(t)
				s := asleep(t)
				h := s.start("")
				h.settled()
				must(t, os.CopyFS(filepath.Join(s.root, "copy"), os.DirFS(s.images)))
				for _, callsign := range []string{"Counter", "Other"} { // generation 2
					h.must("Controller.activate", map[string]string{"callsign": callsign}, nil)
					h.hibernate(callsign)
				}
				s.inspect()
				if next {
					h.end()
				}
				put(t, s)
				if next {
					h = s.start("")
					h.settled()
				}
				for _, callsign := range []string{"Counter", "Other"} {
					h.must("Controller.activate", map[string]string{"callsign": callsign}, nil)
					var n struct{ Value int }
					h.must(callsign+".get", nil, &n)
					if i := s.inspect().of(callsign); i.State != "suspended" || !i.Refused || n.Value != begin {
						t.Errorf("%s counts from %d, there is %+v", callsign, n.Value, i)
					}
				}
				h.end()
				s.inspect()
			})
		}
	}
}

// An image that was woken is not woken again, though it is put back while the
// plugin runs and the host is killed.
func TestImagePutBack(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, on := range policies {
		t.Run(on, func(t *testing.T) {
			runBeside(t)
			s := newSite(t, policy(on), counter())
			h := s.start("")
			h.settled()
			h.hibernate("Counter")
			must(t, os.CopyFS(filepath.Join(s.root, "copy"), os.DirFS(s.image("Counter"))))
			h.must("Controller.activate", callsign, nil)
			h.must("Counter.increment", nil, nil)
			must(t, h.cmd.Process.Kill())
			h.killed()
			must(t, os.Rename(filepath.Join(s.root, "copy"), s.image("Counter")))
			h = s.start("")
			h.settled()
			want := begin
			if on == "adopt" {
				want++
			}
			if got := h.count().Value; got != want {
				t.Errorf("it counts from %d, want %d", got, want)
			}
			if i := s.inspect().of("Counter"); i.Processes != 2 {
				t.Errorf("there is %+v", i)
			}
			h.end()
			s.inspect()
		})
	}
}

// asleep returns a site with two counters, at 42, that sleep, and no host.
func asleep(t *testing.T) *site {
	t.Helper()
	s := newSite(t, "", counter(), plugin("Other", programs+"/counter", "configuration = { start = 41 }"))
	h := s.start("")
	h.settled()
	for _, callsign := range []string{"Counter", "Other"} {
		until(t, "it to be active", func() bool { return h.ask(callsign+".increment", nil, nil) == nil })
		h.hibernate(callsign)
	}
	h.end()
	return s
}

// manifest is the file of an image that says what it is.
const manifest = "manifest"

// files are those of an image that are not empty; when time is short, some.
func (s *site) files(callsign string) (names []string) {
	s.t.Helper()
	if !thorough {
		return []string{"core-1.img", "inventory.img", "pages-1.img"}
	}
	entries, err := os.ReadDir(s.image(callsign))
	must(s.t, err)
	for _, e := range entries {
		info, err := e.Info()
		must(s.t, err)
		if info.Size() > 0 {
			names = append(names, e.Name())
		}
	}
	return names
}

// damage puts the counter to sleep, spoils its image and has it wake.
func damage(t *testing.T, s *site, h *host, sp spoil, file string) {
	t.Helper()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	path := filepath.Join(s.image("Counter"), file)
	if _, err := os.Stat(path); err != nil { // it had a thread more before
		h.must("Controller.activate", callsign, nil)
		return
	}
	slept := h.status()
	sp.do(t, s, path)
	h.must("Controller.activate", callsign, nil)
	// A lazy wake may find out when the plugin runs already, and ends it then.
	var st status
	until(t, "the damage to be noticed", func() bool {
		st = h.status()
		return slices.ContainsFunc(st.History, func(e entry) bool {
			return e.At.After(slept.Since) && strings.Contains(e.Error, "the image is refused")
		})
	})
	if st.State == "deactivated" {
		h.must("Controller.activate", callsign, nil)
	}
	if got := h.count().Value; got != begin {
		t.Errorf("%s %s: it counts from %d, its history is %+v", sp.name, file, got, st.History)
	}
	i := s.inspect().of("Counter")
	if i.State != "suspended" || i.Processes != 2 || !i.Refused && st.State != "deactivated" {
		t.Errorf("%s %s: there is %+v", sp.name, file, i)
	}
	if t.Failed() {
		t.Fatal(h.log.String())
	}
}

// storedAs is a configuration by which images are stored so.
func storedAs(t *testing.T, how, text string) string {
	t.Helper()
	if how == "plain" {
		return text
	}
	key := filepath.Join(t.TempDir(), "key")
	write(t, key, []byte(strings.Repeat("k", 32)))
	return text + fmt.Sprintf("encrypt = true\nkey-file = %q\n", key)
}
