package packager

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/packager/records"
)

// withFlow returns the path of a package with one instance and one source.
func (r *rig) withFlow(name, callsign, fails, flow string) string {
	r.Helper()
	return r.write(manifestText(name, "1.0.0", "") + instanceText(callsign, "1", fails) + "[[flow]]\nname = \"" + flow + "\"\nkind = \"source\"\ngives = [\"t\"]\n")
}

// expectFlows expects that the flows of a package are known, or none with no name.
func (r *rig) expectFlows(pkg string, want ...string) {
	r.Helper()
	r.flows.mu.Lock()
	defer r.flows.mu.Unlock()
	if got := r.flows.declared[pkg]; !slices.Equal(got, want) {
		r.Errorf("the flows of %s are %v, want %v", pkg, got, want)
	}
}

// The flows of a first installation are known, and not ready, while it is under way; also to the
// next host, and after it has failed. They go if it is canceled, or the package uninstalled.
func TestFlowsOfFirstInstallation(t *testing.T) {
	run(t, func(r *rig) {
		r.probes = make(chan struct{})
		isProbing := func() bool {
			record, _ := r.records.Get("p")
			return record.Operation != nil && record.Operation.Phase == records.Probing
		}
		r.must(r.Install(records.Request{Source: r.withFlow("p", "P", "", "in")}))
		r.waitUntil(isProbing)
		r.expectFlows("p", "in")
		if ready := r.Readiness("p"); ready.Ready || !strings.Contains(ready.Why, "INSTALLING") {
			t.Errorf("its readiness is %+v", ready)
		}
		r.restart(func() { r.flows.functions().Withdraw("p") })
		r.expectFlows("p", "in")
		r.waitUntil(isProbing)
		r.must(r.Cancel("p"))
		r.wait()
		r.expectFlows("p")
		close(r.probes)
		r.install(r.withFlow("p", "P", "probe", "in"))
		r.expectFlows("p", "in")
		r.restart(func() { r.flows.functions().Withdraw("p") })
		r.expectFlows("p", "in")
		if ready := r.Readiness("p"); ready.Ready || !strings.Contains(ready.Why, "FAILED") {
			t.Errorf("its readiness is %+v", ready)
		}
		r.install(r.withFlow("p", "P", "", "in"))
		r.expectFlows("p", "in")
		r.expect("INSTALLED", "1.0.0", "1")
	})
}

// The flows of a first installation whose source lies on this machine are known at once; those
// of another source are expected until it is fetched, also if that fails.
func TestFlowsBeforeFetching(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Unsigned = "local" }, func(r *rig) {
		expects := func(want ...string) {
			t.Helper()
			for _, pkg := range []string{"p", "away", "other"} {
				if _, expected := r.ExpectsFlows(pkg); expected != slices.Contains(want, pkg) {
					t.Errorf("the flows of %s are expected: %t", pkg, expected)
				}
			}
			if _, expected := r.ExpectsFlows(""); expected != (len(want) > 0) {
				t.Errorf("any flows are expected: %t", expected)
			}
		}
		r.must(r.Install(records.Request{Source: r.withFlow("p", "P", "", "in")}))
		r.expectFlows("p", "in")
		expects()
		r.wait()
		expects()
		r.install("https://127.0.0.1:1/away.tar.zst")
		r.expectFlows("away")
		expects("away")
		r.restart(nil)
		expects("away")
		r.must(r.Uninstall("away", records.Request{}))
		r.wait()
		expects()
	})
}

// What may not be installed has no flows, nor has what would take those of another.
func TestFlowsOfWhatIsRefused(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Unsigned = "never" }, func(r *rig) {
		r.install(r.withFlow("p", "P", "", "in"))
		r.expectFlows("p")
		if _, expected := r.ExpectsFlows("p"); !expected {
			t.Error("the flows of what could not be verified are known")
		}
	})
}

// A rollback to a version whose flow another package has taken since is refused before anything
// changes, and possible again once that package has gone.
func TestRollbackToFlowOfAnother(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.withFlow("p", "P", "", "in"))
		r.install(r.simple("2.0.0", "trial")) // without a flow
		r.expect("FAILED (rollback available)", "2.0.0", "12")
		r.install(r.withFlow("q", "Q", "", "in"))
		r.expectFlows("q", "in")
		err := r.begin("p", records.Request{Verb: records.Rollback})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "cannot roll back to version 1.0.0: ") || !strings.Contains(err.Error(), "the packages p and q both declare the flow in; uninstall q first") {
			t.Errorf("got %v", err)
		}
		r.expect("FAILED (rollback available)", "2.0.0", "12")
		r.expectFlows("q", "in")
		r.must(r.Uninstall("q", records.Request{}))
		r.wait()
		r.must(r.begin("p", records.Request{Verb: records.Rollback}))
		r.wait()
		r.expect("INSTALLED", "1.0.0", "11")
		r.expectFlows("p", "in")
	})
}

// A package with a flow of another's name is refused, in whatever case the name is.
func TestFlowOfTwoPackages(t *testing.T) {
	run(t, func(r *rig) {
		r.install(r.withFlow("p", "P", "", "in"))
		r.install(r.withFlow("q", "Q", "", "IN"))
		record, _ := r.records.Get("q")
		if record.State != records.Failed || !strings.Contains(record.Failure.Reason, "the packages q and p both declare the flow in") {
			t.Errorf("it is %s: %+v", record.State, record.Failure)
		}
		r.expectFlows("p", "in")
		r.expectFlows("q")
		r.restart(func() {
			r.placeAt("z", r.withFlow("z", "Z", "", "In"))
			r.options.Config.Source = configs.SourceFilesystem
		})
		r.wait()
		if record, _ = r.records.Get("z"); record.State != records.Failed || !strings.Contains(record.Failure.Reason, "the packages z and p") {
			t.Errorf("among the files it is %s: %+v", record.State, record.Failure)
		}
		r.expectFlows("z")
		r.expect("INSTALLED", "1.0.0", "11")
	})
}
