package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// table is what the instance will be activated with.
func (r *rig) table(callsign string) string {
	r.Helper()
	return string(r.shell(callsign).Config().ConfigurationJSON())
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// There are never more clones than the configuration allows, and a destroyed one makes room.
func TestMaxClones(t *testing.T) {
	most := func(o *Options) { o.MaxClones = 2 }
	runWith(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, most, func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.Clone(r.Context(), "A", "C"))
		if err := r.Clone(r.Context(), "A", "D"); !errors.Is(err, ErrTooManyClones) {
			t.Errorf("the third clone: %v", err)
		}
		r.must(r.Destroy(r.Context(), "B"))
		r.must(r.Clone(r.Context(), "A", "D"))
	})
}

// A clone never gets what an earlier instance of its callsign has left.
func TestCloneOfAKeptCallsign(t *testing.T) {
	kept := map[string][]string{"Old": {"/root/persistent/Old", "/root/images/Old/image"}}
	keep := func(o *Options) { o.KeptPaths = func(callsign string) []string { return kept[callsign] } }
	runWith(t, []instance{{"A", configs.StartDeactivated, 50, nil}}, keep, func(r *rig) {
		r.closing()
		err := r.Clone(r.Context(), "A", "Old")
		if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "has left /root/persistent/Old and /root/images/Old/image; take another name") {
			t.Errorf("got %v", err)
		}
		kept = nil // the operator has removed it
		r.must(r.Clone(r.Context(), "A", "Old"))
	})
}

func TestClone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	instances := []instance{{"A", configs.StartActivated, 50, nil}, {"U", configs.StartUnavailable, 50, nil}}
	var gone []string
	options := func(o *Options) {
		keeping(path)(o)
		o.CheckCallsign = func(callsign string) error {
			if len(callsign) > 10 {
				return errors.New("too long")
			}
			return nil
		}
		o.RemoveKept = func(callsign string) error { gone = append(gone, callsign); return nil }
	}
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.must(r.Configure(r.Context(), "A", json.RawMessage(`{"big":9007199254740993,"f":1.50}`)))
		r.Start(r.Context())
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.Clone(r.Context(), "U", "V"))
		r.must(r.Clone(r.Context(), "B", "C"))
		r.expectState("B", shell.Deactivated, shell.Startup)
		r.expectState("V", shell.Unavailable, shell.Startup)
		if got := r.table("C"); got != `{"big":9007199254740993,"f":1.50}` {
			t.Errorf("the clone has %s", got)
		}
		for _, refused := range []struct {
			of, as string
			want   error
		}{
			{"None", "D", ErrUnknown}, {"a", "D", ErrUnknown}, {"A", "B", ErrExists}, {"A", "b", ErrExists}, {"A", "first", ErrExists},
			{"First", "D", ErrNotCloneable}, {"A", "", nil}, {"A", "a/b", nil}, {"A", "controller", nil}, {"A", "MuchTooLong", nil},
			{"A", "A.1", nil}, {"A", "b.300", nil}, {"A", "rpc", nil}, {"A", "RPC.x", nil}, {"A", "x.rpc", nil},
		} {
			if err := r.Clone(r.Context(), refused.of, refused.as); err == nil || refused.want != nil && !errors.Is(err, refused.want) {
				t.Errorf("clone %q as %q: %v", refused.of, refused.as, err)
			}
		}
		r.activate("B")
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		want := map[string]shell.State{"First": "deactivated", "Second": "deactivated", "A": "deactivated", "U": "unavailable",
			"B": "deactivated", "C": "deactivated", "V": "unavailable"}
		if diff := cmp.Diff(want, r.states()); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
		if got := r.table("C") + r.table("A"); got != `{}{}` { // A's was not persisted
			t.Errorf("they have %s", got)
		}
		r.Start(r.Context())
		r.expectState("C", shell.Activated, shell.Startup)
		r.journal.read()

		r.must(r.Destroy(r.Context(), "A"))
		r.expectState("A", shell.Activated, shell.Startup)
		r.must(r.Destroy(r.Context(), "C"))
		r.must(r.Destroy(r.Context(), "V"))
		r.expect("end C, requested")
		if err := r.Destroy(r.Context(), "C"); !errors.Is(err, ErrUnknown) {
			t.Errorf("destroyed twice: %v", err)
		}
		if diff := cmp.Diff([]string{"C", "V"}, gone); diff != "" {
			t.Errorf("forgotten (-want +got):\n%s", diff)
		}
		r.must(r.Clone(r.Context(), "A", "C"))
		if got := r.table("C"); got != `{}` {
			t.Errorf("a new clone has %s", got)
		}
	})
	// A clone whose callsign a file takes makes room.
	runWith(t, append(instances, instance{"c", configs.StartDeactivated, 50, nil}), options, func(r *rig) {
		r.closing()
		if _, ok := r.Shell("C"); ok || len(r.Shells()) != 6 {
			t.Errorf("there are %v", r.states())
		}
	})
}

// A clone of the same callsign has nothing of the one that was destroyed.
func TestCloneAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	instances := []instance{{"A", configs.StartDeactivated, 50, nil}}
	runWith(t, instances, keeping(path), func(r *rig) {
		r.closing()
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.Configure(r.Context(), "B", json.RawMessage(`{"old":true}`)))
		r.must(r.PersistConfiguration(r.Context(), "B"))
		r.must(r.Destroy(r.Context(), "B"))
		r.must(r.Clone(r.Context(), "A", "B"))
		r.must(r.PersistConfiguration(r.Context(), ""))
	})
	runWith(t, instances, keeping(path), func(r *rig) {
		r.closing()
		if got := r.table("B"); got != "{}" {
			t.Errorf("the new clone has %s", got)
		}
	})
}

func TestDestroyHibernated(t *testing.T) {
	run(t, []instance{{"A", configs.StartActivated, 50, nil}}, func(r *rig) {
		r.Start(r.Context())
		r.must(r.Clone(r.Context(), "A", "B"))
		r.plugins["B"].sleeps()
		r.activate("B")
		r.must(r.shell("B").Suspend(r.Context(), shell.Requested))
		r.must(r.shell("B").Hibernate(r.Context(), shell.Requested, 0))
		r.journal.read()
		r.must(r.Destroy(r.Context(), "B"))
		r.expect("wake B", "end B, requested")
		if _, there := r.Shell("B"); there {
			t.Error("it is there")
		}
	})
}

func TestConfigure(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	instances := []instance{{"A", configs.StartDeactivated, 50, nil}, {"B", configs.StartDeactivated, 50, nil}}
	run := func(test func(*rig)) {
		t.Helper()
		runWith(t, instances, keeping(path), func(r *rig) { r.closing(); r.Start(r.Context()); test(r) })
	}
	run(func(r *rig) {
		for _, wrong := range []string{"", "null", "7", "[]", `"a"`, `{"a":1} x`, `{"a":}`, `{} {}`} {
			if err := r.Configure(r.Context(), "A", json.RawMessage(wrong)); !errors.Is(err, ErrNotAnObject) {
				t.Errorf("%s: %v", wrong, err)
			}
		}
		if err := r.Configure(r.Context(), "None", json.RawMessage("{}")); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
		r.activate("B")
		for _, active := range []string{"B", "First"} {
			if err := r.Configure(r.Context(), active, json.RawMessage("{}")); !errors.Is(err, shell.ErrIllegalState) {
				t.Errorf("%s: %v", active, err)
			}
		}
		r.deactivate("B")
		r.must(r.Configure(r.Context(), "A", json.RawMessage(`{"n":1}`)))
		r.must(r.Configure(r.Context(), "B", json.RawMessage(`{"n":2}`)))
		r.activate("B")
		if got := string(r.plugins["B"].launched().ConfigurationJSON()); got != `{"n":2}` {
			t.Errorf("it was launched with %s", got)
		}
	})
	run(func(r *rig) { // nothing was persisted
		if got := r.table("A") + r.table("B"); got != "{}{}" {
			t.Errorf("they have %s", got)
		}
		r.must(r.Configure(r.Context(), "A", json.RawMessage(`{"n":1}`)))
		r.must(r.Configure(r.Context(), "B", json.RawMessage(`{"n":2}`)))
		r.must(r.PersistConfiguration(r.Context(), "A"))
		if err := r.PersistConfiguration(r.Context(), "None"); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
	run(func(r *rig) {
		if got := r.table("A") + r.table("B"); got != `{"n":1}{}` {
			t.Errorf("they have %s", got)
		}
		r.must(r.Configure(r.Context(), "B", json.RawMessage(`{"n":2}`)))
		r.must(r.PersistConfiguration(r.Context(), ""))
	})
	run(func(r *rig) {
		if got := r.table("A") + r.table("B"); got != `{"n":1}{"n":2}` {
			t.Errorf("they have %s", got)
		}
		r.activate("A")
		r.must(r.RestoreConfiguration(r.Context(), "A"))
		if got := string(r.plugins["A"].launched().ConfigurationJSON()); got != `{"n":1}` {
			t.Errorf("what runs has %s", got)
		}
		r.deactivate("A")
		r.activate("A")
		if got := string(r.plugins["A"].launched().ConfigurationJSON()); got != `{}` {
			t.Errorf("it was launched with %s", got)
		}
		if err := r.RestoreConfiguration(r.Context(), "None"); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
	run(func(r *rig) {
		if got := r.table("A") + r.table("B"); got != `{}{"n":2}` {
			t.Errorf("they have %s", got)
		}
		r.must(r.RestoreConfiguration(r.Context(), ""))
	})
	run(func(r *rig) {
		if got := r.table("A") + r.table("B"); got != `{}{}` {
			t.Errorf("they have %s", got)
		}
		r.Stop(context.Background())
		for what, err := range map[string]error{
			"clone": r.Clone(r.Context(), "A", "X"), "destroy": r.Destroy(r.Context(), "A"),
			"configure": r.Configure(r.Context(), "A", json.RawMessage("{}")), "persist": r.PersistConfiguration(r.Context(), ""), "restore": r.RestoreConfiguration(r.Context(), ""),
		} {
			if !errors.Is(err, shell.ErrUnavailable) {
				t.Errorf("%s after the end: %v", what, err)
			}
		}
	})
}

// A store that can't be read keeps the host from starting with half of it.
func TestStoreOfAnother(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	runWith(t, nil, keeping(path), func(r *rig) {
		r.closing()
		r.must(store.BucketOf[json.RawMessage](r.options.Store, "configurations").Put("A", json.RawMessage(`{"version":1,"configuration":[]}`)))
	})
	o := Options{Plugins: []configs.Plugin{{Callsign: "A"}}}
	keeping(path)(&o)
	defer o.Store.Close()
	if _, err := New(o); !errors.Is(err, ErrNotAnObject) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// storeClone puts a clone into the store as the first version of a host did.
func storeClone(t *testing.T, path, of string, p configs.Plugin) {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	record := map[string]any{"version": 1, "of": of, "plugin": p}
	if err := errors.Join(store.BucketOf[map[string]any](s, "clones").Put(p.Callsign, record), s.Close()); err != nil {
		t.Fatal(err)
	}
}

// A clone of an earlier host whose name means something else by now stays, is never started,
// says why, and can be destroyed.
func TestCloneWithMisreadCallsign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	for _, callsign := range []string{"A.1", "a.RPC", "rpc.A"} {
		storeClone(t, path, "A", named(callsign, configs.StartActivated))
	}
	var removed []string
	options := func(o *Options) {
		keeping(path)(o)
		o.RemoveKept = func(callsign string) error { removed = append(removed, callsign); return nil }
	}
	instances := []instance{{"A", configs.StartActivated, 50, nil}}
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.expect("launch First", "launch Second", "launch A")
		for callsign, why := range map[string]string{
			"A.1": `"A.1" can't be a callsign: a call of "A.1.method" means "method" of "A" in version 1`, "a.RPC": `"a.RPC" can't be`, "rpc.A": `"rpc.A" can't be`,
		} {
			if st := r.shell(callsign).Status(); st.State != shell.Deactivated || st.Err == nil || !strings.Contains(st.Err.Error(), why) {
				t.Errorf("%s is %s, %v", callsign, st.State, st.Err)
			}
			if e, err := r.Explain(callsign); err != nil || !strings.Contains(e.Why, why) {
				t.Errorf("explained as %q, %v", e.Why, err)
			}
			if err := r.shell(callsign).Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrIllegalState) {
				t.Errorf("activated: %v", err)
			}
		}
		r.reload(r.files(), []string(nil)...)
		r.must(r.Clone(r.Context(), "A.1", "A-1")) // how to give it another name
		r.activate("A-1")
		r.must(r.Destroy(r.Context(), "A.1"))
		r.must(r.Destroy(r.Context(), "a.RPC"))
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		states := r.states()
		delete(states, "First")
		delete(states, "Second")
		if diff := cmp.Diff(map[string]shell.State{"A": "deactivated", "A-1": "deactivated", "rpc.A": "deactivated"}, states); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]string{"A.1", "a.RPC"}, removed); diff != "" {
			t.Errorf("removed (-want +got):\n%s", diff)
		}
	})
}

// A clone of an earlier host does not take the place of a part of this host that has its
// callsign, and comes back with a host that has no such part.
func TestCloneWithTheCallsignOfABuiltin(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	for _, callsign := range []string{"First", "second", "Other"} {
		storeClone(t, path, "A", named(callsign, configs.StartActivated))
	}
	instances := []instance{{"A", configs.StartActivated, 50, nil}}
	runWith(t, instances, keeping(path), func(r *rig) {
		r.closing()
		r.Start(r.Context())
		launched := r.journal.read()
		slices.Sort(launched) // the last two start side by side
		if want := []string{"launch A", "launch First", "launch Other", "launch Second"}; !slices.Equal(launched, want) {
			t.Errorf("%q, want %q", launched, want)
		}
		if diff := cmp.Diff(map[string]shell.State{"A": "activated", "First": "activated", "Second": "activated", "Other": "activated"}, r.states()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	runWith(t, instances, func(o *Options) { keeping(path)(o); o.Builtins = nil }, func(r *rig) {
		r.closing()
		if diff := cmp.Diff(map[string]shell.State{"A": "deactivated", "First": "deactivated", "second": "deactivated", "Other": "deactivated"}, r.states()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}
