package agreement

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// Every pair of what the sides may have, for both sources.
func TestPlan(t *testing.T) {
	one := &Side{Version: "1.0.0", Digest: "sha256:1"}
	other := &Side{Version: "1.0.0", Digest: "sha256:1b"} // the same version, other bytes
	two := &Side{Version: "2.0.0", Digest: "sha256:2"}
	damaged := &Side{Version: "1.0.0", Digest: "sha256:1", Damaged: "it does not match its SHA256SUMS"}
	why := damaged.Damaged
	leave := Action{Kind: LeaveUntouched, Why: why}
	tests := []struct {
		name                 string
		database, files      *Side
		fromDatabase, fromFS Action // zero for nothing
	}{
		{"neither", nil, nil, Action{}, Action{}},
		{"equal", one, one, Action{}, Action{}},
		{"only database", one, nil, Action{Kind: WriteFiles, To: "1.0.0"}, Action{Kind: DeleteRecord, From: "1.0.0"}},
		{"only files", nil, one, Action{Kind: DeleteFiles, From: "1.0.0"}, Action{Kind: InsertRecord, To: "1.0.0"}},
		{"files newer", one, two, Action{Kind: WriteFiles, From: "2.0.0", To: "1.0.0"}, Action{Kind: ReplaceRecord, From: "1.0.0", To: "2.0.0"}},
		{"files older", two, one, Action{Kind: WriteFiles, From: "1.0.0", To: "2.0.0"}, Action{Kind: ReplaceRecord, From: "2.0.0", To: "1.0.0"}},
		{"other bytes", one, other, Action{Kind: WriteFiles, From: "1.0.0", To: "1.0.0"}, Action{Kind: ReplaceRecord, From: "1.0.0", To: "1.0.0"}},
		{"files damaged", one, damaged, Action{Kind: WriteFiles, From: "1.0.0", To: "1.0.0"}, leave},
		{"only files, damaged", nil, damaged, leave, leave},
		{"database damaged", damaged, two, leave, Action{Kind: ReplaceRecord, From: "1.0.0", To: "2.0.0"}},
		{"only database, damaged", damaged, nil, leave, Action{Kind: DeleteRecord, From: "1.0.0"}},
		{"archive damaged, files whole", damaged, one, Action{}, Action{}},
		{"both damaged", damaged, damaged, leave, leave},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for source, want := range map[configs.PackageSource]Action{configs.SourceDatabase: tt.fromDatabase, configs.SourceFilesystem: tt.fromFS} {
				var got Action
				if all := Plan(source, []Pair{{Name: "p", Database: tt.database, Files: tt.files}}); len(all) > 0 {
					got, got.Name = all[0], ""
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("from %s (-want +got):\n%s", source, diff)
				}
				busy := Plan(source, []Pair{{Name: "p", Database: tt.database, Files: tt.files, Busy: "it is busy"}})
				if diff := cmp.Diff([]Action{{Name: "p", Kind: LeaveUntouched, Why: "it is busy"}}, busy); diff != "" {
					t.Errorf("from %s while it is busy (-want +got):\n%s", source, diff)
				}
			}
		})
	}
}

// Actions are sorted, and each has a line of its own.
func TestLines(t *testing.T) {
	one, two := &Side{Version: "1.0.0", Digest: "1"}, &Side{Version: "2.0.0", Digest: "2"}
	pairs := []Pair{
		{Name: "new", Files: one}, {Name: "gone", Database: one}, {Name: "changed", Database: one, Files: two}, {Name: "busy", Busy: "an upgrade is under way"},
	}
	want := map[configs.PackageSource][]string{
		configs.SourceDatabase: {
			"busy: left as it is: an upgrade is under way",
			"changed 1.0.0: written to the file system in place of 2.0.0",
			"gone 1.0.0: written to the file system",
			"new 1.0.0: deleted on the file system, since the database has no such package",
		},
		configs.SourceFilesystem: {
			"busy: left as it is: an upgrade is under way",
			"changed 2.0.0: takes the place of 1.0.0 in the database",
			"gone 1.0.0: deleted in the database, since the file system has no such package",
			"new 1.0.0: inserted into the database",
		},
	}
	for source, lines := range want {
		var got []string
		for _, a := range Plan(source, pairs) {
			got = append(got, a.String())
		}
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Errorf("from %s (-want +got):\n%s", source, diff)
		}
	}
}
