package packager

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// place puts a version of the package "p" among the files, as an operator does: built, with its
// SHA256SUMS.
func (r *rig) place(version string) {
	r.Helper()
	r.placeAt("p", r.simple(version, ""))
}

func (r *rig) placeAt(name, source string) {
	r.Helper()
	to := filepath.Join(r.dirs.FilesDir(), name)
	r.must(r.dirs.Unlink(name))
	r.must(os.CopyFS(to, os.DirFS(source)))
	sums, err := archive.Sums(r.Context(), to)
	r.must(err)
	r.must(os.WriteFile(filepath.Join(to, "SHA256SUMS"), sums, 0o644))
}

// sides returns the version in the database, and that among the files; empty for none, "damaged"
// for one that is not as its sums say.
func (r *rig) sides() (database, files string) {
	r.Helper()
	if record, found := r.records.Get("p"); found {
		database = record.ShownVersion()
		if _, _, whole, err := r.database.Find(record.Serving.Digest); err != nil || !whole {
			r.Errorf("the archive of %s is not in the database, %v", database, err)
		}
	}
	e, found := r.dirs.Entry("p")
	if !found {
		return database, ""
	}
	side := r.filesSide(e)
	if side.Damaged != "" {
		return database, "damaged"
	}
	return database, side.Version
}

// Each pair of what the database and the files may have is brought into agreement at the start,
// as the source says; a damaged directory is never a source.
func TestSynchronizeAtStart(t *testing.T) {
	tests := []struct {
		database, files    string // "" for none
		fromDatabase, from string // what both have then; two words where they differ
	}{
		{"", "", "", ""},
		{"1.0.0", "", "1.0.0", ""},
		{"", "1.0.0", "", "1.0.0"},
		{"1.0.0", "1.0.0", "1.0.0", "1.0.0"},
		{"1.0.0", "2.0.0", "1.0.0", "2.0.0"},
		{"2.0.0", "1.0.0", "2.0.0", "1.0.0"},
		{"1.0.0", "damaged", "1.0.0", "1.0.0 damaged"},
		{"", "damaged", " damaged", " damaged"},
	}
	for _, source := range []configs.PackageSource{configs.SourceDatabase, configs.SourceFilesystem} {
		for _, tt := range tests {
			want := tt.fromDatabase
			if source == configs.SourceFilesystem {
				want = tt.from
			}
			t.Run(string(source)+"/"+tt.database+"-"+tt.files, func(t *testing.T) {
				runWith(t, func(o *Options) { o.Config.Source = source }, func(r *rig) {
					if tt.database != "" {
						r.install(r.simple(tt.database, ""))
					}
					r.restart(func() {
						switch tt.files {
						case "":
							r.must(r.dirs.Unlink("p"))
						case "damaged":
							r.place("3.0.0")
							r.must(os.WriteFile(filepath.Join(r.dirs.FilesDir(), "p", "bin", "plugin"), []byte("other"), 0o755))
						default:
							r.place(tt.files)
						}
					})
					r.wait()
					database, files := r.sides()
					got := database
					if files != database {
						got += " " + files
					}
					if got != want {
						record, _ := r.records.Get("p")
						t.Errorf("then it is %q, want %q; failure: %+v", got, want, record.Failure)
					}
					state := shell.State("")
					if database != "" {
						state = shell.Activated
					}
					r.expectState("P", state)
				})
			})
		}
	}
}

// What is deleted lies in the trash, from where it can be restored.
func TestRestoreFromTrash(t *testing.T) {
	for _, source := range []configs.PackageSource{configs.SourceDatabase, configs.SourceFilesystem} {
		t.Run(string(source), func(t *testing.T) {
			runWith(t, func(o *Options) { o.Config.Source = source }, func(r *rig) {
				if source == configs.SourceFilesystem {
					r.install(r.simple("1.0.0", ""))
				}
				r.restart(func() {
					if source == configs.SourceFilesystem {
						r.must(r.dirs.Unlink("p"))
					} else {
						r.place("1.0.0")
					}
				})
				r.wait()
				if _, found := r.records.Get("p"); found {
					t.Fatal("it was not deleted")
				}
				if _, err := r.call("restore", map[string]string{"package": "p"}); err != nil {
					t.Fatal(err)
				}
				r.wait()
				if database, files := r.sides(); database != "1.0.0" || files != "1.0.0" {
					t.Errorf("restored it is %q and %q", database, files)
				}
				r.expectState("P", shell.Activated)
				_, err := r.call("restore", map[string]string{"package": "other"})
				r.expectError(err, ErrUnknown)
			})
		})
	}
}

// Nothing is deleted when the source looks lost; sync --really does it once.
func TestLostSource(t *testing.T) {
	lose := map[string]struct {
		source configs.PackageSource
		lose   func(*rig)
	}{
		"files missing":     {configs.SourceFilesystem, func(r *rig) { r.must(os.Rename(r.dirs.FilesDir(), filepath.Join(r.root, "away"))) }},
		"files unmarked":    {configs.SourceFilesystem, func(r *rig) { r.clearFiles(ownedtree.MarkName, "p") }},
		"database missing":  {configs.SourceDatabase, func(r *rig) { r.must(os.Rename(r.dirs.DatabaseDir(), filepath.Join(r.root, "away"))) }},
		"database unmarked": {configs.SourceDatabase, func(r *rig) { r.must(os.Remove(filepath.Join(r.dirs.DatabaseDir(), ownedtree.MarkName))) }},
		"database unreadable": {configs.SourceDatabase, func(r *rig) {
			r.must(os.WriteFile(filepath.Join(r.dirs.DatabaseDir(), "index.json"), []byte("{"), 0o600))
		}},
	}
	for name, tt := range lose {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			runWith(t, func(o *Options) { o.Config.Source, o.Log = tt.source, zerolog.New(&log) }, func(r *rig) {
				r.install(r.simple("1.0.0", ""))
				r.restart(func() {
					if tt.source == configs.SourceDatabase {
						r.placeAt("q", r.write(manifestText("q", "1.0.0", "")+instanceText("Q", "q", "")))
					}
					tt.lose(r)
				})
				r.wait()
				r.expectState("P", shell.Activated)
				if !strings.Contains(log.String(), "package sync --really") {
					t.Errorf("the log does not say what to do:\n%s", log.String())
				}
				if tt.source == configs.SourceDatabase {
					if _, found := r.dirs.Entry("q"); !found {
						t.Error("a package among the files was deleted")
					}
				}
				_, err := r.Sync(false, false)
				r.expectError(err, ErrRefused)
				if name == "database unreadable" {
					return // it has to be mended first
				}
				lines, err := r.Sync(false, true)
				r.must(err)
				r.wait()
				want := []string{"p 1.0.0: deleted in the database, since the file system has no such package"}
				if tt.source == configs.SourceDatabase {
					want = []string{"q 1.0.0: deleted on the file system, since the database has no such package"}
				}
				if diff := cmp.Diff(want, lines); diff != "" {
					t.Error(diff)
				}
				again, err := r.Sync(true, false)
				if err != nil || len(again) != 0 {
					t.Errorf("afterwards there is still %v, %v", again, err)
				}
			})
		})
	}
}

// clearFiles removes entries of the directory of files.
func (r *rig) clearFiles(names ...string) {
	r.Helper()
	for _, name := range names {
		r.must(os.RemoveAll(filepath.Join(r.dirs.FilesDir(), name)))
	}
}

// A dry run says what would be done, and does nothing.
func TestSyncDryRun(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.dirs.Unlink("p"))
		r.placeAt("q", r.write(manifestText("q", "1.0.0", "")+instanceText("Q", "q", "")))
		want := []string{"p 1.0.0: written to the file system", "q 1.0.0: deleted on the file system, since the database has no such package"}
		for range 2 {
			lines, err := r.Sync(true, false)
			r.must(err)
			if diff := cmp.Diff(want, lines); diff != "" {
				t.Error(diff)
			}
		}
		if _, found := r.dirs.Entry("p"); found {
			t.Error("it was done all the same")
		}
		r.install(r.simple("1.0.0", "")) // nothing happens, since it is installed
		if _, err := r.Sync(false, false); err != nil {
			t.Fatal(err)
		}
		if database, files := r.sides(); database != "1.0.0" || files != "1.0.0" {
			t.Errorf("then it is %q and %q", database, files)
		}
	})
}

// At the very first start, and at the first start of another version of Dormouse, nothing is
// deleted whatever the source is: what lies among the files is inserted at the first, and bundled
// packages at both, except for those that the user has removed, disabled or has newer.
func TestBundledPackages(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Source = configs.SourceFilesystem }, func(r *rig) {
		bundle := func(name, version string) {
			r.Helper()
			dir := filepath.Join(r.options.Config.Bundled, name)
			r.must(os.RemoveAll(dir))
			r.writeInto(dir, manifestText(name, version, "")+instanceText("I-"+name, version[:1], ""))
		}
		versions := func(want map[string]string) {
			r.Helper()
			r.wait()
			got := make(map[string]string)
			for _, record := range r.records.All() {
				got[record.Name] = record.ShownVersion()
				if record.Failure != nil {
					t.Errorf("%s: %+v", record.Name, record.Failure)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				r.Error(diff)
			}
		}
		for _, name := range []string{"removed", "disabled", "newer", "older"} {
			bundle(name, "1.0.0")
		}
		r.restart(nil)
		versions(map[string]string{}) // the same version of Dormouse
		r.restart(func() { r.options.Version = "v1.1.0-3-gabcdef1-dirty" })
		versions(map[string]string{"removed": "1.0.0", "disabled": "1.0.0", "newer": "1.0.0", "older": "1.0.0"})
		record, _ := r.records.Get("older")
		if record.Origin() != records.Bundled {
			t.Errorf("its origin is %s", record.Origin())
		}

		r.must(r.Uninstall("removed", records.Request{}))
		r.must(r.begin("disabled", records.Request{Verb: records.Disable}))
		r.install(r.write(manifestText("newer", "3.0.0", "") + instanceText("I-newer", "3", "")))
		r.wait()
		for _, name := range []string{"removed", "disabled", "newer", "older"} {
			bundle(name, "2.0.0")
		}
		want := map[string]string{"disabled": "1.0.0", "newer": "3.0.0", "older": "1.0.0"}
		r.restart(func() { r.options.Version = "v1.1.0" })
		versions(want)
		want["older"] = "2.0.0"
		r.restart(func() {
			r.options.Version = "v1.2.0"
			r.must(r.dirs.Unlink("newer")) // would delete it from the database, were it an ordinary start
		})
		versions(want)
	})
}

// loseStore removes the store, as a disk may.
func (r *rig) loseStore() {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.root, "store.db*"))
	r.must(err)
	for _, path := range files {
		r.must(os.Remove(path))
	}
}

// A store that was made anew counts as a first start: what lies among the files is inserted.
func TestRebuiltStore(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.restart(r.loseStore)
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectState("P", shell.Activated)
	})
}

// A package that can't be inserted stays where it lies, and may be later.
func TestRebuiltStoreOfWhatFails(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.restart(func() { r.loseStore(); r.probes = make(chan struct{}) })
		r.wait()
		if record, _ := r.records.Get("p"); record.State != records.Failed {
			t.Fatalf("it is %+v", record)
		}
		r.probes = nil
		r.must(r.Retry("p", records.Request{}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
	})
}

// A first start that is cut off before it has inserted anything is gone on with, also by a host
// that finds the store whole.
func TestFirstStartIsCutOff(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.stop()
		r.loseStore()
		for range 2 { // hosts that end before Start
			opened, err := store.Open(filepath.Join(r.root, "store.db"), store.Options{})
			r.must(err)
			o := r.options
			o.Store = opened
			p, err := Open(o)
			r.must(err)
			p.Close()
			r.must(opened.Close())
		}
		r.start()
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.restart(nil)
		r.wait()
		r.expect("INSTALLED", "1.0.0", "111")
		if note, _, err := startNotes(r.store).Get(startKey); note.First || err != nil {
			t.Errorf("the note is %+v, %v", note, err)
		}
	})
}

// A package whose signature, privileges or types are refused is left as it is on both sides.
func TestSynchronizeKeepsRules(t *testing.T) {
	runWith(t, func(o *Options) {
		o.Config.Source = configs.SourceFilesystem
		o.Config.Caps.Environment = []string{"LANG"}
	}, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		greedy := r.write(manifestText("p", "2.0.0", "") + "[[instance]]\ncallsign = \"P\"\nenvironment = { LD_PRELOAD = \"x\" }\n")
		r.restart(func() { r.placeAt("p", greedy) })
		r.wait()
		r.expect("INSTALLED (upgrade to 2.0.0 failed)", "1.0.0", "11")
		record, _ := r.records.Get("p")
		if record.Failure == nil || !strings.Contains(record.Failure.Reason, "LD_PRELOAD") {
			t.Errorf("the failure is %+v", record.Failure)
		}
		if database, files := r.sides(); database != "1.0.0" || files != "2.0.0" {
			t.Errorf("it is %q and %q", database, files)
		}
	})
}

func TestRelease(t *testing.T) {
	for version, want := range map[string]string{
		"v1.2.3": "v1.2.3", "v1.2.3-dirty": "v1.2.3", "v1.2.3-4-gabcdef1": "v1.2.3", "v1.2.3-4-gabcdef1-dirty": "v1.2.3",
		"v1.2.3-rc.1": "v1.2.3-rc.1", "v1.2.3-rc.1-4-gabcdef1": "v1.2.3-rc.1", "dev": "dev", "abcdef1": "", "abcdef1-dirty": "",
	} {
		if got := release(version); got != want {
			t.Errorf("the release of %s is %q, want %q", version, got, want)
		}
	}
}
