package packager

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// An upgrade leaves each instance in the state it was in.
func TestUpgradeKeepsStates(t *testing.T) {
	lead := map[string]func(*rig, *shell.Shell){
		"active": func(*rig, *shell.Shell) {},
		"suspended": func(r *rig, sh *shell.Shell) {
			r.must(sh.Suspend(r.Context(), shell.Requested))
		},
		"hibernated": func(r *rig, sh *shell.Shell) {
			r.hibernate(sh)
		},
		"down": func(r *rig, sh *shell.Shell) { r.must(sh.Deactivate(r.Context(), shell.Requested)) },
	}
	for name, leadTo := range lead {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				r.install(r.simple("1.0.0", ""))
				sh, _ := r.supervisor.Shell("P")
				leadTo(r, sh)
				state, control := sh.StateAndControl()
				r.install(r.simple("2.0.0", ""))
				sh, _ = r.supervisor.Shell("P")
				if now, c := sh.StateAndControl(); now != state || c != control {
					t.Errorf("it was %s and %s, and is %s and %s", state, control, now, c)
				}
				data := "12"
				if name == "down" {
					data = "1"
				}
				r.expect("INSTALLED", "2.0.0", data)
			})
		})
	}
}

// A new version of a plugin that sleeps is awake for its trial. If it stays, it sleeps as the one
// before did; if it dies, a rollback puts the one before back to sleep.
func TestTrialOfSleepers(t *testing.T) {
	lead := map[string]func(*rig, *shell.Shell){
		"suspended":  func(r *rig, sh *shell.Shell) { r.must(sh.Suspend(r.Context(), shell.Requested)) },
		"hibernated": func(r *rig, sh *shell.Shell) { r.hibernate(sh) },
	}
	for name, leadTo := range lead {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				r.install(r.simple("1.0.0", ""))
				sh, _ := r.supervisor.Shell("P")
				leadTo(r, sh)
				state, control := sh.StateAndControl()
				begun := time.Now()
				r.install(r.simple("2.0.0", ""))
				r.expect("INSTALLED", "2.0.0", "12")
				if took := time.Since(begun); took < 30*time.Second {
					t.Errorf("the trial took %s", took)
				}
				r.install(r.simple("3.0.0", "trial"))
				r.expect("FAILED (rollback available)", "3.0.0", "123")
				r.expectLog("version 3 begins")
				r.expectState("P", shell.Deactivated)
				r.must(r.begin("p", records.Request{Verb: records.Rollback}))
				r.wait()
				r.expect("INSTALLED", "2.0.0", "122")
				sh, _ = r.supervisor.Shell("P")
				if now, c := sh.StateAndControl(); now != state || c != control {
					t.Errorf("it was %s and %s, and is %s and %s", state, control, now, c)
				}
			})
		})
	}
}

// A host that follows one which was stopped in the trial of a plugin that had slept puts the
// plugin to sleep after the trial.
func TestTrialOfSleeperGoesOn(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		sh, _ := r.supervisor.Shell("P")
		r.hibernate(sh)
		r.must(r.Install(records.Request{Source: r.simple("2.0.0", "")}))
		r.waitForTrial()
		r.expectState("P", shell.Activated)
		r.restart(nil)
		r.wait()
		record, _ := r.records.Get("p")
		if record.Status() != "INSTALLED" || record.Serving.Version != "2.0.0" {
			t.Errorf("it is %s %s", record.Status(), record.Serving.Version)
		}
		r.expectState("P", shell.Hibernated)
	})
}

// Instances that only one of the versions has come and go, and come back with a rollback.
func TestUpgradeChangesInstances(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.write(manifestText("p", "1.0.0", "") + instanceText("P", "1", "") + instanceText("Old", "1", "")))
		r.install(r.write(manifestText("p", "2.0.0", "") + instanceText("P", "2", "") + instanceText("New", "2", "")))
		r.expect("INSTALLED", "2.0.0", "12")
		r.expectState("Old", "")
		r.expectState("New", shell.Activated)
		r.install(r.write(manifestText("p", "3.0.0", "") + instanceText("P", "3", "trial") + instanceText("Old", "3", "")))
		r.expect("FAILED (rollback available)", "3.0.0", "123")
		r.expectState("Old", shell.Deactivated)
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "2.0.0", "122")
		r.expectState("Old", "")
		r.expectState("New", shell.Activated)
	})
}

// What a version has written for an instance that it has and the version before has not goes with
// a rollback. What an earlier version had written stays.
func TestRollbackOfInstancesThatComeBack(t *testing.T) {
	run(t, func(r *rig) {
		both := func(version, fails string) string {
			return r.write(manifestText("p", version, "") + instanceText("P", version[:1], fails) + instanceText("Old", version[:1], ""))
		}
		r.install(both("1.0.0", ""))
		r.install(r.simple("2.0.0", ""))
		r.install(both("3.0.0", "trial"))
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "2.0.0", "122")
		if got := r.data("Old"); got != "1" {
			t.Errorf("the data of the other is %q", got)
		}
	})
}

// An instance that a client ends during the trial has not failed.
func TestTrialEndsByClient(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.Install(records.Request{Source: r.simple("2.0.0", "")}))
		r.waitForTrial()
		sh, _ := r.supervisor.Shell("P")
		r.must(sh.Deactivate(r.Context(), shell.Requested))
		r.expectError(r.Cancel("p"), ErrNotPossible)
		if ready := r.Readiness("p"); ready.Ready {
			t.Error("it is ready during its trial")
		}
		r.wait()
		r.expect("INSTALLED", "2.0.0", "12")
		r.expectState("P", shell.Deactivated)
	})
}

// Data that is larger than keep-data is not copied: an upgrade to another format of it is refused
// before the switch, and one to the same format rolls back with the data and the state as they are.
func TestKeepDataBound(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.KeepData = 2 }, func(r *rig) {
		if r.install(r.simple("1.0.0", "")); r.dirs.SharesBlocks(r.dataDir("P")) {
			t.Skip("the file system of the tests shares blocks")
		}
		r.must(appendTo(filepath.Join(r.dataDir("P"), "data"), "111"))
		r.must(appendTo(r.stateFile("P"), "111"))
		r.install(r.write(manifestText("p", "2.0.0", "data = 1") + instanceText("P", "2", "")))
		r.expect("INSTALLED (upgrade to 2.0.0 failed)", "1.0.0", "1111")
		record, _ := r.records.Get("p")
		if !strings.Contains(record.Failure.Reason, "keep-data in [packages] allows") {
			t.Errorf("the reason is %s", record.Failure.Reason)
		}
		r.install(r.simple("3.0.0", "trial"))
		r.expect("FAILED (rollback available)", "3.0.0", "11113")
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "111131")
	})
}

// A version that is tried again after keep-data has been lowered rolls back with the data and the
// state as they are: none of what was kept for the first trial is left.
func TestKeepDataBoundOfRetry(t *testing.T) {
	run(t, func(r *rig) {
		if r.install(r.simple("1.0.0", "")); r.dirs.SharesBlocks(r.dataDir("P")) {
			t.Skip("the file system of the tests shares blocks")
		}
		r.install(r.simple("3.0.0", "trial"))
		r.expect("FAILED (rollback available)", "3.0.0", "13")
		config := r.options.Config
		config.KeepData = 0
		_, err := r.Reconfigure(r.Context(), config, nil)
		r.must(err)
		r.must(r.Retry("p", records.Request{}))
		r.wait()
		r.expect("FAILED (rollback available)", "3.0.0", "13")
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "131")
	})
}

// The operator's tables change the instances of a package, also when they are read again.
func TestOverlays(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		overlay := configs.Overlay{Package: "p", Callsign: "P", Keys: configs.InstanceKeys{Values: map[string]any{
			"configuration": map[string]any{"writes": "x"},
		}}}
		lines, err := r.Reconfigure(r.Context(), r.options.Config, []configs.Overlay{overlay})
		if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0], "P: restarted") {
			t.Errorf("the changes are %q, %v", lines, err)
		}
		r.expect("INSTALLED", "1.0.0", "1x")
		r.install(r.simple("2.0.0", ""))
		r.expect("INSTALLED", "2.0.0", "1xx")
	})
}

// What an upgrade asks for beyond the installed version needs grant; what is beyond the caps is
// refused for all.
func TestPrivileges(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Caps.Environment = []string{"LANG", "LC_*"} }, func(r *rig) {
		with := func(version, environment string) string {
			return r.write(manifestText("p", version, "") + instanceText("P", version[:1], "") + "environment = { " + environment + " = \"x\" }\n")
		}
		r.install(r.simple("1.0.0", ""))
		r.install(with("2.0.0", "LANG"))
		r.expect("INSTALLED (upgrade to 2.0.0 failed)", "1.0.0", "1")
		r.install(with("2.0.0", "LANG"), func(q *records.Request) { q.Grant = true })
		r.expect("INSTALLED", "2.0.0", "12")
		r.install(with("3.0.0", "PATH"), func(q *records.Request) { q.Grant = true })
		r.expect("INSTALLED (upgrade to 3.0.0 failed)", "2.0.0", "12")
	})
}

// Twenty packages are installed at once; one whose program does not answer holds no other up.
func TestTwentyAtOnce(t *testing.T) {
	run(t, func(r *rig) {
		r.probes = make(chan struct{})
		const count = 20
		for i := range count {
			name := "p" + string(rune('a'+i))
			r.must(r.Install(records.Request{Source: r.write(manifestText(name, "1.0.0", "") + instanceText("I"+name, "1", ""))}))
		}
		for range count - 1 {
			r.probes <- struct{}{}
		}
		r.supervisorEvents()
		byState, _ := r.records.Counts()
		if byState[records.Installed] != count-1 || byState[records.Installing] != 1 {
			t.Errorf("the states are %v", byState)
		}
		close(r.probes)
		r.wait()
		if byState, _ := r.records.Counts(); byState[records.Installed] != count {
			t.Errorf("in the end the states are %v", byState)
		}
	})
}

// An operation that hosts were killed in twice before its switch is interrupted, and can be
// repeated.
func TestInterrupted(t *testing.T) {
	run(t, func(r *rig) {
		r.probes = make(chan struct{})
		r.must(r.Install(records.Request{Source: r.simple("1.0.0", "")}))
		r.supervisorEvents()
		r.restart(nil)
		r.supervisorEvents()
		if record, _ := r.records.Get("p"); record.Status() != "INSTALLING (probing)" {
			t.Errorf("after one restart it is %s", record.Status())
		}
		r.restart(nil)
		r.wait()
		record, _ := r.records.Get("p")
		if record.Status() != "FAILED" || !strings.Contains(record.Failure.Reason, "interrupted") {
			t.Errorf("after two it is %s since %+v", record.Status(), record.Failure)
		}
		close(r.probes)
		r.must(r.Retry("p", records.Request{}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "1")
	})
}

// A program that a clone runs stays on the disk, and goes once the clone has gone.
func TestClonesKeepVersions(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.supervisor.Clone(r.Context(), "P", "Copy"))
		program := filepath.Join(r.versionDir("p", r.served().Digest), "bin", "plugin")
		r.must(r.Uninstall("p", records.Request{}))
		r.wait()
		if _, err := os.Stat(program); err != nil {
			t.Error(err)
		}
		r.must(r.supervisor.Destroy(r.Context(), "Copy"))
		r.restart(nil)
		r.supervisorEvents()
		if _, err := os.Stat(program); err == nil {
			t.Error("the version stays although nothing uses it")
		}
	})
}

// A version that an image needs stays on the disk.
func TestImagesKeepVersions(t *testing.T) {
	needed := make(map[string]bool)
	runWith(t, func(o *Options) {
		o.ImagesUse = func(dir string) (bool, error) { return needed[filepath.Base(dir)], nil }
	}, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		first := r.served().Digest
		needed[strings.TrimPrefix(first, "sha256:")] = true
		r.install(r.simple("2.0.0", ""))
		r.install(r.simple("3.0.0", ""))
		if !r.dirs.HasVersion("p", first) {
			t.Error("it has gone")
		}
		clear(needed)
		r.install(r.simple("4.0.0", ""))
		if r.dirs.HasVersion("p", first) {
			t.Error("it stays although nothing needs it")
		}
	})
}
