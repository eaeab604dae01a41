package packager

import (
	"strings"
	"testing"
	"time"

	"dormouse/plugins/packager/records"
	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

// expectLog expects the lines that are kept of the last failure.
func (r *rig) expectLog(want ...string) {
	r.Helper()
	record, _ := r.records.Get("p")
	if record.Failure == nil {
		r.Error("nothing has failed")
		return
	}
	if len(record.Failure.Log) != len(want) {
		r.Errorf("the log is %q, want %q", record.Failure.Log, want)
		return
	}
	for i := range want {
		if record.Failure.Log[i] != want[i] {
			r.Errorf("the log is %q, want %q", record.Failure.Log, want)
		}
	}
}

func isSuspended(sh *shell.Shell) bool {
	_, control := sh.StateAndControl()
	return control == statecontrol.Suspended
}

// cloned makes the clone Copy of P, which has begun once.
func (r *rig) cloned() *shell.Shell {
	r.Helper()
	r.must(r.supervisor.Clone(r.Context(), "P", "Copy"))
	sh, _ := r.supervisor.Shell("Copy")
	r.must(sh.Activate(r.Context(), shell.Requested))
	return sh
}

// expectCopy expects the state and the data of the clone.
func (r *rig) expectCopy(state shell.State, data string) {
	r.Helper()
	r.expectState("Copy", state)
	if got := r.data("Copy"); got != data {
		r.Errorf("the clone has the data %q, want %q", got, data)
	}
}

// What clones write is kept for a rollback as what their instance writes, and comes back with it.
// A clone that slept is awake for the trial, and sleeps again after it, or after the rollback.
func TestUpgradeWithClones(t *testing.T) {
	lead := map[string]func(*rig, *shell.Shell){
		"active":     func(*rig, *shell.Shell) {},
		"hibernated": func(r *rig, sh *shell.Shell) { r.hibernate(sh) },
	}
	for name, leadTo := range lead {
		t.Run(name, func(t *testing.T) {
			run(t, func(r *rig) {
				r.install(r.simple("1.0.0", ""))
				sh := r.cloned()
				leadTo(r, sh)
				state := sh.State()
				r.install(r.simple("2.0.0", ""))
				r.expect("INSTALLED", "2.0.0", "12")
				r.expectCopy(state, "12")
				r.install(r.write(manifestText("p", "3.0.0", "") + instanceText("P", "3", "clone")))
				r.expect("FAILED (rollback available)", "3.0.0", "123")
				r.expectCopy(shell.Deactivated, "123")
				r.expectLog("version 3 begins")
				r.must(r.begin("p", records.Request{Verb: records.Rollback}))
				r.wait()
				r.expect("INSTALLED", "2.0.0", "122")
				r.expectCopy(state, "122")
			})
		})
	}
}

// A host that is stopped between an instance and its clone is followed by one that has kept the
// data of the clone before the new version writes there.
func TestClonesAfterStoppedSwitch(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.cloned()
		copied := r.plugins["Copy"]
		gate := copied.Hold(shelltest.Deinitialize)
		r.must(r.Install(records.Request{Source: r.write(manifestText("p", "3.0.0", "") + instanceText("P", "3", "clone"))}))
		<-gate.Reached
		stopping := r.ctx.Done()
		go func() {
			<-stopping
			gate.Open()
		}()
		r.restart(nil)
		r.wait()
		r.expect("FAILED (rollback available)", "3.0.0", "133")
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectState("Copy", shell.Activated)
		if got := r.data("Copy"); len(got) < 2 || strings.Trim(got, "1") != "" { // the host may have started it again before it stopped
			t.Errorf("the clone has the data %q", got)
		}
	})
}

// sleepingClone makes the clone Copy of P, which sleeps and can't be woken.
func (r *rig) sleepingClone() (wakes func()) {
	r.Helper()
	r.hibernate(r.cloned())
	copied := r.plugins["Copy"]
	copied.Fail(shelltest.Wake, errBroken)
	return func() { copied.Fail(shelltest.Wake, nil) }
}

// expectPhase expects the phase of the operation on p that is under way.
func (r *rig) expectPhase(want records.Phase) {
	r.Helper()
	record, _ := r.records.Get("p")
	if record.Operation == nil || record.Operation.Phase != want {
		r.Errorf("the operation is %+v, want the phase %s", record.Operation, want)
	}
}

// rollBackWithCopy rolls p back, and expects what P and its clone had written in the first version.
func (r *rig) rollBackWithCopy() {
	r.Helper()
	r.must(r.begin("p", records.Request{Verb: records.Rollback}))
	r.wait()
	r.expect("INSTALLED", "1.0.0", "11")
	r.expectCopy(shell.Hibernated, "11")
}

// A clone that sleeps on in the switch is replaced as soon as it wakes. A rollback brings back
// what it had written until then.
func TestRollbackOfALateClone(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		wakes := r.sleepingClone()
		r.must(r.Install(records.Request{Source: r.simple("3.0.0", "trial")}))
		r.waitForTrial()
		r.expectCopy(shell.Hibernated, "1")
		wakes()
		<-time.After(3 * time.Second)
		r.expectCopy(shell.Activated, "13")
		r.expectPhase(records.Trial)
		r.wait()
		r.expect("FAILED (rollback available)", "3.0.0", "13")
		r.rollBackWithCopy()
	})
}

// A clone that slept on until the trial is replaced by the host that follows one which was stopped
// there. A rollback brings back what it had written until then.
func TestRollbackOfACloneOfAnEarlierHost(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.sleepingClone()
		r.must(r.Install(records.Request{Source: r.simple("3.0.0", "trial")}))
		r.waitForTrial()
		r.restart(func() { r.asleep = "Copy" })
		r.expectCopy(shell.Activated, "13")
		r.expectPhase(records.Trial)
		r.wait()
		r.expect("FAILED (rollback available)", "3.0.0", "133")
		r.rollBackWithCopy()
	})
}

// A clone that is made while its package is disabled begins in the version that came meanwhile. A
// rollback takes away what it has written.
func TestRollbackOfACloneOfWhatWasDisabled(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.install(r.simple("2.0.0", "trial"))
		r.must(r.supervisor.Clone(r.Context(), "P", "Copy"))
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.waitForTrial()
		sh, _ := r.supervisor.Shell("Copy")
		r.must(sh.Activate(r.Context(), shell.Requested))
		r.expectCopy(shell.Activated, "2")
		r.wait()
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		if got := r.data("Copy"); got != "" {
			t.Errorf("the clone has the data %q", got)
		}
	})
}

// Data that an earlier operation has left behind is not what a rollback puts back.
func TestRollbackWithLeftData(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.cloned().Deactivate(r.Context(), shell.Requested))
		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.must(r.dirs.KeepData(r.Context(), r.simple("9.0.0", ""), "p", r.served().Digest, "Copy", 1<<30))
		r.install(r.simple("2.0.0", "trial"))
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.wait()
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectCopy(shell.Deactivated, "1")
	})
}

// A note that data is kept changes no phase, however late it comes.
func TestLateNoteOfKeptData(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.Install(records.Request{Source: r.simple("2.0.0", "")}))
		r.waitForTrial()
		record, _ := r.records.Get("p")
		r.must(r.keepAndNoteData(r.Context(), record, "Late"))
		r.expectPhase(records.Trial)
		if now, _ := r.records.Get("p"); !now.Operation.Kept["Late"] {
			t.Error("it is not noted")
		}
		r.wait()
		r.must(r.keepAndNoteData(r.Context(), record, "Later"))
		r.expect("INSTALLED", "2.0.0", "12")
	})
}

// A version that is installed while its package is disabled runs for the first time once it is
// enabled: it has its trial then, and can be rolled back with the data of the version before.
func TestTrialOfWhatWasDisabled(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		sh, _ := r.supervisor.Shell("P")
		r.must(sh.Suspend(r.Context(), shell.Requested))
		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.install(r.simple("2.0.0", "trial"))
		r.expect("DISABLED", "2.0.0", "1")
		r.restart(nil)
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.wait()
		r.expect("FAILED (rollback available)", "2.0.0", "12")
		r.expectLog("version 2 begins")
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		if sh, _ := r.supervisor.Shell("P"); !isSuspended(sh) {
			t.Error("it was suspended, and is not any more")
		}

		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.install(r.simple("2.0.0", "trial"))
		r.install(r.simple("3.0.0", "")) // instead of one that has never run
		begun := time.Now()
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.wait()
		r.expect("INSTALLED", "3.0.0", "113")
		if took := time.Since(begun); took < 30*time.Second {
			t.Errorf("the trial took %s", took)
		}
		if sh, _ := r.supervisor.Shell("P"); !isSuspended(sh) {
			t.Error("it was suspended, and is not any more")
		}
	})
}

// A version that failed when it was enabled is tried again from the old data.
func TestRetryOfWhatWasEnabled(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.simple("1.0.0", ""))
		r.must(r.begin("p", records.Request{Verb: records.Disable}))
		r.wait()
		r.install(r.simple("2.0.0", "trial"))
		r.must(r.begin("p", records.Request{Verb: records.Enable}))
		r.wait()
		r.must(r.Retry("p", records.Request{}))
		r.wait()
		r.expect("FAILED (rollback available)", "2.0.0", "12")
	})
}
