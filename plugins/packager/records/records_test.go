package records

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/internal/store"
)

// Every event in every state leads where the table says, or is refused and changes nothing.
func TestEveryEventInEveryState(t *testing.T) {
	allowed := make(map[Event]map[State]State)
	for _, row := range Table {
		if allowed[row.Event] == nil {
			allowed[row.Event] = make(map[State]State)
		}
		if _, twice := allowed[row.Event][row.From]; twice {
			t.Errorf("%s in %q has two rows", row.Event, row.From)
		}
		allowed[row.Event][row.From] = row.To
	}
	for _, e := range Events {
		for _, from := range States {
			r, err := Open(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.all["p"] = Record{Name: "p", State: from}
			want, ok := allowed[e][from]
			record, err := r.Step("p", e, nil)
			if _, refused := errors.AsType[*StateError](err); refused == ok {
				t.Errorf("%s in %q: the error is %v", e, from, err)
			}
			if ok && record.State != want {
				t.Errorf("%s in %q leads to %q, want %q", e, from, record.State, want)
			}
			if got, _ := r.Get("p"); !ok && got.State != from {
				t.Errorf("%s in %q was refused, and led to %q", e, from, got.State)
			}
		}
	}
}

// A change is on disk before it can be seen, and is told once, in order.
func TestStepIsDurableThenVisible(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := openStore(t, path)
	var told []State
	r, err := Open(s, func(record Record) {
		told = append(told, record.State)
		kept, found, err := store.BucketOf[Record](s, bucketName).Get(record.Name)
		if err != nil || found != (record.State != Absent) || kept.State != record.State {
			t.Errorf("%s is told, and %s is on disk (%v)", record.State, kept.State, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	refused := errors.New("refused")
	if _, err := r.Step("p", Ask, func(*Record) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("the error is %v", err)
	}
	for _, e := range []Event{Ask, Begin, Succeed, Switch, Fail, Restore, Succeed, Remove, Succeed} {
		if _, err := r.Step("p", e, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := []State{Pending, Installing, Installed, Installing, Failed, Installing, Installed, Removing, Absent}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if all := r.All(); len(all) != 0 {
		t.Errorf("there is still %v", all)
	}
}

// A change that can't be stored is not seen.
func TestStepWithoutStore(t *testing.T) {
	s := openStore(t, filepath.Join(t.TempDir(), "store.db"))
	r, err := Open(s, func(record Record) { t.Errorf("%v is told", record) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Step("p", Ask, nil); err == nil {
		t.Error("a closed store took a record")
	}
	if _, found := r.Get("p"); found {
		t.Error("what was not stored is seen")
	}
}

func TestStatus(t *testing.T) {
	two := &Version{Version: "2.0.0"}
	upgrade := Request{Verb: Upgrade}
	tests := map[string]Record{
		"PENDING":                                {State: Pending, Operation: &Operation{Phase: Waiting}},
		"INSTALLING (probing)":                   {State: Installing, Operation: &Operation{Phase: Probing}},
		"INSTALLED":                              {State: Installed},
		"DISABLED":                               {State: Installed, Disabled: true},
		"INSTALLED (upgrade to 2.0.0 failed)":    {State: Installed, Failure: &Failure{Request: upgrade, Version: "2.0.0"}},
		"INSTALLED (upgrade to 2.0.0: fetching)": {State: Installed, Operation: &Operation{Request: upgrade, Phase: Fetching, Target: two}},
		"INSTALLED (uninstall: draining)":        {State: Installed, Operation: &Operation{Request: Request{Verb: Uninstall}, Phase: Draining}},
		"FAILED":                                 {State: Failed},
		"FAILED (rollback available)":            {State: Failed, CanRollback: true},
		"REMOVING (ending)":                      {State: Removing, Operation: &Operation{Phase: Ending}},
	}
	for want, record := range tests {
		if got := record.Status(); got != want {
			t.Errorf("the status is %q, want %q", got, want)
		}
	}
}

// The history of a package is bounded, and so is the number of histories of those that have
// gone.
func TestHistoryIsBounded(t *testing.T) {
	r := open(t)
	at := time.Unix(1, 0).UTC()
	for i := range maxEndedEach + 5 {
		if err := r.NoteEnded(Ended{Package: "p", Ended: at.Add(time.Duration(i))}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.History("p")
	if err != nil || len(list) != maxEndedEach || !list[0].Ended.Equal(at.Add(5)) {
		t.Errorf("%d are kept from %v on, %v", len(list), list[0].Ended, err)
	}
	if _, err := r.Step("p", Insert, nil); err != nil {
		t.Fatal(err)
	}
	for i := range maxHistories {
		if err := r.NoteEnded(Ended{Package: "gone" + time.Duration(i).String(), Ended: at.Add(time.Duration(i))}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := r.History("")
	if err != nil || len(all) != maxEndedEach+maxHistories-1 {
		t.Errorf("%d are kept, %v", len(all), err)
	}
	if list, _ := r.History("gone0s"); len(list) != 0 {
		t.Error("the oldest of what has gone is kept")
	}
}

func open(t *testing.T) *Records {
	t.Helper()
	r, err := Open(openStore(t, filepath.Join(t.TempDir(), "store.db")), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openStore(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
