package faults

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An image is not woken in other surroundings than it was made in: it is put aside
// with the reason, and the plugin starts cold, stays down or sleeps on, as configured.
func TestReplacedWhileAsleep(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	program, library := linked(t)
	for name, test := range map[string]struct {
		replace func(t *testing.T, s *site)
		want    string
	}{
		"executable": {func(t *testing.T, _ *site) {
			t.Helper()
			text := read(t, program)
			text[len(text)/2] ^= 1 // among what no program needs
			replace(t, program, text)
		}, "counter was replaced or changed"},
		"library": {func(t *testing.T, _ *site) {
			t.Helper()
			replace(t, library, append(read(t, library), 0))
		}, "libnothing.so was replaced or changed"},
		"CRIU":   {func(t *testing.T, s *site) { t.Helper(); s.reseal("engine", "criu 1.2.3") }, "it was made by criu 1.2.3"},
		"kernel": {func(t *testing.T, s *site) { t.Helper(); s.reseal("kernel", "2.6.32") }, "it was made under kernel 2.6.32"},
	} {
		for _, then := range []string{"cold-start", "keep", "deactivate"} {
			t.Run(name+"/"+then, func(t *testing.T) {
				s := newSite(t, "", plugin("Counter", program, fmt.Sprintf("on-failed-wake = %q", then), "configuration = { start = 41 }"))
				h := s.start("")
				h.settled()
				h.must("Counter.increment", nil, nil)
				h.hibernate("Counter")
				h.end() // it remembers its own images
				test.replace(t, s)
				h = s.start("")
				h.ready()
				err := h.ask("Controller.activate", callsign, nil)
				st := h.status()
				switch {
				case !strings.Contains(fmt.Sprint(st.History), test.want):
					t.Errorf("want %q, it is %+v", test.want, st)
				case then == "cold-start" && err != nil:
					t.Errorf("it does not start cold: %v", err)
				case then == "keep" && (err == nil || st.State != "hibernated" || !strings.Contains(st.Error, test.want)),
					then == "deactivate" && (err == nil || st.State != "deactivated" || !strings.Contains(st.Error, test.want)):
					t.Errorf("got %v, it is %+v", err, st)
				}
				if then == "keep" {
					audit(t, s, h, "hibernated")
					return
				}
				if i := s.inspect().of("Counter"); i.Refused || i.Aside != 1 {
					t.Errorf("there is %+v", i)
				}
				h.must("Controller.activate", callsign, nil)
				if got := h.count().Value; got != begin {
					t.Errorf("it counts from %d", got)
				}
				h.end()
				s.inspect()
			})
		}
	}
}

// linked builds the counter once more, with a library of its own.
func linked(t *testing.T) (program, library string) {
	t.Helper()
	dir := t.TempDir()
	program, library = filepath.Join(dir, "counter"), filepath.Join(dir, "libnothing.so")
	source := filepath.Join(dir, "nothing.c")
	write(t, source, []byte("int nothing(void) { return 0; }\n"))
	flags := fmt.Sprintf("-linkmode external -extldflags '-Wl,--no-as-needed -L%s -lnothing -Wl,-rpath,%s'", dir, dir)
	for _, args := range [][]string{
		{"gcc", "-shared", "-fPIC", "-o", library, source},
		{"go", "build", "-ldflags", flags, "-o", program, "dormouse/plugins/examples/counter"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	return program, library
}

// replace puts another file in the place of one, as a package manager does.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	write(t, path+".new", text)
	must(t, os.Chmod(path+".new", 0o700))
	must(t, os.Rename(path+".new", path))
}

// reseal changes what the manifest of the counter's image says, as its host could.
func (s *site) reseal(key string, value any) {
	s.t.Helper()
	var sealed struct {
		Manifest json.RawMessage `json:"manifest"`
		HMAC     []byte          `json:"hmac"`
	}
	path := filepath.Join(s.image("Counter"), manifest)
	must(s.t, json.Unmarshal(read(s.t, path), &sealed))
	var m map[string]any
	must(s.t, json.Unmarshal(sealed.Manifest, &m))
	if _, there := m[key]; !there {
		s.t.Fatalf("there is no %s in %s", key, sealed.Manifest)
	}
	m[key] = value
	var err error
	sealed.Manifest, err = json.Marshal(m)
	must(s.t, err)
	h := hmac.New(sha256.New, read(s.t, filepath.Join(s.images, ".key")))
	_, _ = h.Write(sealed.Manifest)
	sealed.HMAC = h.Sum(nil)
	text, err := json.Marshal(sealed)
	must(s.t, err)
	write(s.t, path, text)
}
