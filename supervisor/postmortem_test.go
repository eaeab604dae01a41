package supervisor

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
)

// witness is a plugin that leaves evidence.
type witness struct {
	*plugin
	evidence shell.Evidence
}

func (w witness) Evidence() shell.Evidence { return w.evidence }

// folders are the names in dir.
func folders(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestPostMortem(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "post-mortem")
	core := filepath.Join(t.TempDir(), "core.7")
	if err := os.WriteFile(core, []byte("all that was"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := func(o *Options) {
		o.PostMortem = PostMortem{Dir: dir, Reasons: []string{"failure", "watchdog expired"}, Keep: 20}
		backend := o.Backend
		o.Backend = func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			return witness{backend(config, sink).(*plugin), shell.Evidence{ //nolint:errcheck // it is one
				Exit: "with status 3", PID: 4711, Begun: time.Now(), Core: core, Log: []string{"one", "two"},
				Files: map[string]string{"status": "Name: fake\n", "memory.peak": "4096\n", "memory.max": "max\n"},
			}}
		}
	}
	runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, options, func(r *rig) {
		r.Start(r.Context())
		pass(90 * time.Second)
		r.crash("A", 3)
		names := folders(t, dir)
		if len(names) != 1 || !regexp.MustCompile(`^A-20000101T000130\.\d{3}Z-failure$`).MatchString(names[0]) {
			t.Fatalf("there is %q", names)
		}
		folder := filepath.Join(dir, names[0])
		if diff := cmp.Diff([]string{"core", "log.txt", "memory.max", "memory.peak", "report.json", "status"}, folders(t, folder)); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			info, _ := entry.Info()
			if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[entry.IsDir()]; info.Mode().Perm() != want {
				t.Errorf("%s is %s", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{"log.txt": "one\ntwo\n", "status": "Name: fake\n", "core": "all that was"} {
			if text, err := os.ReadFile(filepath.Join(folder, name)); string(text) != want || err != nil {
				t.Errorf("%s is %q, %v", name, text, err)
			}
		}
		var got postMortemReport
		text, err := os.ReadFile(filepath.Join(folder, "report.json"))
		if err == nil {
			err = json.Unmarshal(text, &got)
		}
		if err != nil {
			t.Fatal(err)
		}
		want := postMortemReport{Callsign: "A", Reason: shell.Failure, Error: "the process has exited with status 3", Exit: "with status 3", Class: "Fake",
			PID: 4711, Begun: got.At.Add(-90 * time.Second), At: got.At, Uptime: 90, Core: core, Memory: map[string]int64{"peak": 4096}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("report (-want +got):\n%s", diff)
		}

		// What is asked for is not documented, a watchdog's end is.
		r.activate("A")
		r.deactivate("A")
		r.activate("A")
		r.must(r.shell("A").Deactivate(r.Context(), shell.WatchdogExpired))
		if names := folders(t, dir); len(names) != 2 || !strings.HasSuffix(names[1], "-watchdog-expired") {
			t.Errorf("there is %q", names)
		}
	})
}

// The oldest make room, and what a killed host left goes.
func TestPostMortemsAreBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, draftName+"1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	options := func(o *Options) {
		withRestart(configs.RestartNever)(o)
		o.PostMortem = PostMortem{Dir: dir, Reasons: []string{"failure"}, Keep: 2}
	}
	runWith(t, []instance{{"A", configs.StartDeactivated, 50, nil}, {"Z", configs.StartDeactivated, 50, nil}}, options, func(r *rig) {
		r.Start(r.Context())
		for i, callsign := range []string{"Z", "A", "A"} {
			r.activate(callsign)
			r.crash(callsign, 1)
			for _, name := range folders(t, dir) { // their times are the machine's, not the bubble's
				if strings.HasPrefix(name, callsign) {
					at := time.Date(2020, 1, 1+i, 0, 0, 0, 0, time.UTC)
					if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
						t.Error(err)
					}
				}
			}
			pass(time.Hour)
		}
		names := folders(t, dir)
		if len(names) != 2 || slices.ContainsFunc(names, func(name string) bool { return !strings.HasPrefix(name, "A-") }) {
			t.Errorf("there is %q", names)
		}
	})
}

func TestPostMortemOfNobody(t *testing.T) {
	run(t, []instance{{"A", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		r.crash("A", 1)
		synctest.Wait()
		r.expectState("A", shell.Deactivated, shell.Failure)
	})
	p := postMortems{PostMortem: PostMortem{Dir: t.TempDir(), Keep: 1}}
	for _, name := range []string{"../out", "a/b", "", ".", ".."} {
		if _, err := p.writeFolderAndRemoveOldest(postMortemReport{}, shell.Evidence{Files: map[string]string{name: "x"}}); err == nil {
			t.Errorf("it wrote a file %q", name)
		}
	}
	if names := folders(t, p.Dir); names != nil {
		t.Errorf("it left %q", names)
	}
}
