package packager

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// A package is installed from a directory: each state is told in order, its instance runs, and
// the same bytes again change nothing.
func TestInstall(t *testing.T) {
	run(t, func(r *rig) {
		dir := r.simple("1.0.0", "")
		r.install(dir)
		r.expect("INSTALLED", "1.0.0", "1")
		r.expectState("P", shell.Activated)
		want := []string{
			"p PENDING", "p INSTALLING (waiting)", "p INSTALLING (fetching)", "p INSTALLING (verifying)", "p INSTALLING (verifying)", "p INSTALLING (unpacking)",
			"p INSTALLING (probing)", "p INSTALLING (switching)", "p INSTALLING (starting)", "p INSTALLED",
		}
		if diff := cmp.Diff(want, r.takeEvents()); diff != "" {
			t.Error(diff)
		}
		r.install(dir)
		r.expect("INSTALLED", "1.0.0", "1")
		if last := r.lastEnded(); last.Result != "done" || last.Reason != "just these bytes are installed already" {
			t.Errorf("it ended %+v", last)
		}
		if e, found := r.dirs.Entry("p"); !found || e.Digest == "" {
			t.Errorf("among the files is %+v", e)
		}
		if entries, err := r.database.Entries(); err != nil || len(entries) != 1 {
			t.Errorf("the database has %v, %v", entries, err)
		}
		r.restart(nil)
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectState("P", shell.Activated)
	})
}

// A first installation that fails keeps why, and can be repeated or replaced.
func TestInstallFails(t *testing.T) {
	for _, fails := range []string{"probe", "start"} {
		t.Run(fails, func(t *testing.T) {
			run(t, func(r *rig) {
				r.install(r.simple("1.0.0", fails))
				record, _ := r.records.Get("p")
				if record.Status() != "FAILED" || record.Failure == nil || !strings.Contains(record.Failure.Reason, errBroken.Error()) {
					t.Errorf("it is %s, since %+v", record.Status(), record.Failure)
				}
				if sh, ok := r.supervisor.Shell("P"); ok && !sh.State().IsDown() {
					t.Errorf("P is %s", sh.State())
				}
				r.must(r.Retry("p", records.Request{}))
				r.wait()
				if record, _ := r.records.Get("p"); record.Status() != "FAILED" {
					t.Errorf("after another try it is %s", record.Status())
				}
				r.expectError(r.begin("p", records.Request{Verb: records.Rollback}), ErrNotPossible)
				r.install(r.simple("1.0.1", ""))
				r.expectState("P", shell.Activated)
				if record, _ := r.records.Get("p"); record.Status() != "INSTALLED" {
					t.Errorf("the version after it is %s, since %+v", record.Status(), record.Failure)
				}
			})
		})
	}
}

// An upgrade keeps the state of the instance, and what fails before the switch leaves the version
// before in service.
func TestUpgrade(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.install(r.simple("2.0.0", ""))
		r.expect("INSTALLED", "2.0.0", "12")
		r.expectState("P", shell.Activated)
		if r.dirs.HasData("p", r.served().Digest, "P") {
			t.Error("data is kept although nothing can be rolled back")
		}

		r.install(r.simple("3.0.0", "probe"))
		r.expect("INSTALLED (upgrade to 3.0.0 failed)", "2.0.0", "12")
		r.expectState("P", shell.Activated)

		r.install(r.simple("1.5.0", ""))
		r.expect("INSTALLED (upgrade to 1.5.0 failed)", "2.0.0", "12")
		r.install(r.simple("1.5.0", ""), func(q *records.Request) { q.Downgrade = true })
		r.expect("INSTALLED", "1.5.0", "121")

		other := r.write(manifestText("p", "1.5.0", `description = "other"`) + instanceText("P", "x", ""))
		r.install(other)
		r.expect("INSTALLED (upgrade to 1.5.0 failed)", "1.5.0", "121")
		r.install(other, func(q *records.Request) { q.Replace = true })
		r.expect("INSTALLED", "1.5.0", "121x")

		if versions, err := r.dirs.Versions("p"); err != nil || len(versions) != 2 {
			t.Errorf("%d versions are kept, %v", len(versions), err)
		}
	})
}

func (r *rig) served() *records.Version {
	record, _ := r.records.Get("p")
	return record.Serving
}

// A version that fails in its switch or trial leaves the instance down, and the version before
// can be put back with its data; what the new one wrote is in the trash.
func TestRollback(t *testing.T) {
	for fails, phase := range map[string]records.Phase{"start": records.Switching, "trial": records.Trial} {
		t.Run(fails, func(t *testing.T) {
			run(t, func(r *rig) {
				r.install(r.simple("1.0.0", ""))
				r.install(r.simple("2.0.0", fails))
				r.expect("FAILED (rollback available)", "2.0.0", "12")
				if record, _ := r.records.Get("p"); record.Failure == nil || record.Failure.Phase != phase {
					t.Errorf("the failure is %+v, want the phase %s", record.Failure, phase)
				}
				r.expectState("P", shell.Deactivated)
				sh, _ := r.supervisor.Shell("P")
				r.expectError(sh.Activate(r.Context(), shell.Requested), shell.ErrIllegalState)

				r.restart(nil)
				r.expect("FAILED (rollback available)", "2.0.0", "12")
				r.expectState("P", shell.Deactivated)

				r.must(r.Retry("p", records.Request{}))
				r.wait()
				r.expect("FAILED (rollback available)", "2.0.0", "12")

				r.must(r.begin("p", records.Request{Verb: records.Rollback}))
				r.wait()
				r.expect("INSTALLED", "1.0.0", "11")
				r.expectState("P", shell.Activated)
				if trashed, err := r.dirs.Trashed(); err != nil || len(trashed) != 2 {
					t.Errorf("the trash has %v, %v", trashed, err)
				}
				r.expectError(r.begin("p", records.Request{Verb: records.Rollback}), ErrNotPossible)

				r.install(r.simple("2.0.1", ""))
				r.expect("INSTALLED", "2.0.1", "112")
			})
		})
	}
}

// With auto-rollback the version before comes back by itself.
func TestAutoRollback(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.AutoRollback = true }, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.install(r.simple("2.0.0", "trial"))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectState("P", shell.Activated)
		history, err := r.records.History("p")
		if err != nil || len(history) != 3 || history[1].Result != "failed" || !strings.Contains(history[1].Reason, "; now follows a rollback to version 1.0.0,") || history[2].Request.By != "auto-rollback" || history[2].To != "1.0.0" {
			t.Errorf("the history is %+v, %v", history, err)
		}
	})
}

// A failed upgrade can be followed by a version that mends it, which starts on the data of the
// last good version.
func TestUpgradeOfFailed(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.install(r.simple("2.0.0", "trial"))
		r.install(r.simple("3.0.0", "start"))
		r.expect("FAILED (rollback available)", "3.0.0", "13")
		r.install(r.simple("4.0.0", ""))
		r.expect("INSTALLED", "4.0.0", "14")
		r.expectState("P", shell.Activated)
	})
}

// A disabled package keeps everything but its instances, over restarts; enabled again, what ran
// runs.
func TestDisableAndEnable(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.expect("DISABLED", "1.0.0", "1")
		r.expectState("P", shell.Deactivated)
		r.expectError(r.begin("p", records.Request{Verb: records.Disable}), ErrNotPossible)
		if ready := r.Readiness("p"); ready.Ready || !ready.Disabled || !strings.Contains(ready.Why, "plugin enable p") {
			t.Errorf("its readiness is %+v", ready)
		}
		r.restart(nil)
		r.expect("DISABLED", "1.0.0", "1")
		r.expectState("P", shell.Deactivated)
		r.install(r.simple("2.0.0", ""))
		r.expect("DISABLED", "2.0.0", "1")
		r.expectState("P", shell.Deactivated)
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.wait()
		r.expect("INSTALLED", "2.0.0", "12")
		r.expectState("P", shell.Activated)
		if ready := r.Readiness("p"); !ready.Ready {
			t.Errorf("its readiness is %+v", ready)
		}
	})
}

// An uninstalled package leaves the data of its plugins, unless it is purged, and nothing else.
func TestUninstall(t *testing.T) {
	for _, purge := range []bool{false, true} {
		run(t, func(r *rig) {
			r.install(r.simple("1.0.0", ""))
			r.install(r.simple("2.0.0", ""))
			r.must(r.Uninstall("p", records.Request{Purge: purge}))
			r.wait()
			if _, found := r.records.Get("p"); found {
				t.Error("the record is still there")
			}
			r.expectState("P", "")
			if got := r.data("P"); (got == "") != purge {
				t.Errorf("the data is %q", got)
			}
			if names, err := r.dirs.Packages(); err != nil || len(names) > 0 {
				t.Errorf("on the disk are %v, %v", names, err)
			}
			if entries, err := r.database.Entries(); err != nil || len(entries) > 0 {
				t.Errorf("the database has %v, %v", entries, err)
			}
			if _, found := r.dirs.Entry("p"); found {
				t.Error("the link is still there")
			}
			if left, err := os.ReadDir(r.dirs.UploadDir()); err != nil || len(left) > 1 {
				t.Errorf("left among the uploads: %v, %v", left, err)
			}
			r.expectError(r.Uninstall("p", records.Request{}), ErrUnknown)
		})
	}
}

// A package that others need, or whose flows hold messages, is not removed, and the error lists
// them.
func TestUninstallIsRefused(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.install(r.write(manifestText("user", "1.0.0", `uses = ["type-p ^1.0"]`) + instanceText("User", "u", "")))
		r.flows.holding = []string{"ticks"}
		r.flows.drained = make(chan struct{})
		err := r.Uninstall("p", records.Request{})
		r.expectError(err, ErrRefused)
		for _, text := range []string{"user need what it provides", "ticks hold messages", "--force", "--drain", "--discard"} {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("the error does not say %q: %v", text, err)
			}
		}
		r.expect("INSTALLED", "1.0.0", "1")
		r.must(r.Uninstall("user", records.Request{Drain: true}))
		r.supervisorEvents()
		if record, _ := r.records.Get("user"); record.Status() != "INSTALLED (uninstall: draining)" {
			t.Errorf("user is %s", record.Status())
		}
		r.expectState("User", shell.Activated)
		r.must(r.Cancel("user"))
		r.wait()
		r.must(r.Uninstall("user", records.Request{Drain: true}))
		close(r.flows.drained)
		r.wait()
		r.flows.holding = []string{"ticks"}
		r.must(r.Uninstall("p", records.Request{Discard: true}))
		r.wait()
		if all := r.records.All(); len(all) != 0 || len(r.flows.declared) != 0 {
			t.Errorf("there are still %v, and the flows %v", all, r.flows.declared)
		}
	})
}

// Of two packages that provide one type, or have one callsign, the one that was there stays.
func TestSameTypeOrCallsign(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.install(r.write(strings.Replace(manifestText("other", "1.0.0", ""), "type-other", "type-p", 1) + instanceText("O", "o", "")))
		r.install(r.write(manifestText("third", "1.0.0", "") + instanceText("p", "t", "")))
		for name, text := range map[string]string{"other": "other and p both provide type-p", "third": "both have an instance p"} {
			record, _ := r.records.Get(name)
			if record.State != records.Failed || !strings.Contains(record.Failure.Reason, text) {
				t.Errorf("%s is %s since %+v", name, record.Status(), record.Failure)
			}
		}
		r.expect("INSTALLED", "1.0.0", "1")
	})
}

// One operation on a package is under way at a time; those on others go on beside it. It can be
// canceled up to its switch, and then leaves nothing.
func TestOneAtATimeAndCancel(t *testing.T) {
	run(t, func(r *rig) {
		slow := make(chan struct{})
		r.install(r.simple("1.0.0", ""))
		r.probes = slow
		two := r.simple("2.0.0", "")
		r.must(r.Install(records.Request{Source: two}))
		r.supervisorEvents()
		err := r.Install(records.Request{Source: two})
		if want := "package p: upgrade is under way (probing); wait for its end, or cancel it"; err == nil || err.Error() != want {
			t.Errorf("the second is refused by %v", err)
		}
		if _, err := r.call("install", map[string]string{"package": two}); err == nil || !strings.Contains(numbered(err).Error(), "under way") {
			t.Errorf("the second call is refused by %v", err)
		}
		r.must(r.Cancel("p"))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "1")
		r.must(r.Install(records.Request{Source: r.write(manifestText("q", "1.0.0", "") + instanceText("Q", "q", ""))}))
		r.supervisorEvents()
		r.must(r.Cancel("q"))
		r.wait()
		if _, found := r.records.Get("q"); found {
			t.Error("a canceled first installation is still known")
		}
		if names, err := r.dirs.Packages(); err != nil || len(names) != 1 {
			t.Errorf("on the disk are %v, %v", names, err)
		}
		r.expectError(r.Cancel("p"), ErrNotPossible)
		r.expectError(r.Cancel("q"), ErrUnknown)
	})
}

// The history names the version before also if another host brings the upgrade to its end.
func TestHistoryOfResumed(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.Install(records.Request{Source: r.simple("2.0.0", "")}))
		r.waitForTrial()
		r.restart(nil)
		r.wait()
		history, err := r.records.History("p")
		r.must(err)
		if last := history[len(history)-1]; last.From != "1.0.0" || last.To != "2.0.0" || last.Result != "done" {
			t.Errorf("the last operation is %+v", last)
		}
	})
}
