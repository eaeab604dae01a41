// Package agreement decides how the database of packages and the file system are brought into
// agreement. It changes nothing, and does not know where either side lies.
package agreement

import (
	"cmp"
	"fmt"
	"slices"

	"dormouse/configs"
)

// Side is what one side has of a package.
type Side struct {
	Version, Digest string
	// Damaged says why the side can't be a source, empty if it can.
	Damaged string
}

// Pair is a package as both sides have it; nil for a side that has none of it.
type Pair struct {
	Name            string
	Database, Files *Side
	// Busy says why the package is left alone, empty for no reason.
	Busy string
}

// Kind is what is done with a package.
type Kind string

// The kinds of actions. The sides that are written: the files, the database, or neither.
const (
	DeleteFiles    Kind = "delete files"    // on the file system, since the database has none of it
	WriteFiles     Kind = "write files"     // as the database has them
	DeleteRecord   Kind = "delete record"   // in the database, since the file system has none of it
	InsertRecord   Kind = "insert record"   // as the file system has it
	ReplaceRecord  Kind = "replace record"  // by the version that the file system has
	LeaveUntouched Kind = "leave untouched" // both sides, and say why
)

// Deletes reports whether an action of this kind deletes what only one side has.
func (k Kind) Deletes() bool { return k == DeleteFiles || k == DeleteRecord }

// Action is what is done with one package.
type Action struct {
	Name string
	Kind Kind
	// From and To are the versions before and after on the side that changes.
	From, To string
	Why      string
}

// String returns the line that a log shows.
func (a Action) String() string {
	switch a.Kind {
	case DeleteFiles:
		return fmt.Sprintf("%s %s: deleted on the file system, since the database has no such package", a.Name, a.From)
	case WriteFiles:
		if a.From == "" {
			return fmt.Sprintf("%s %s: written to the file system", a.Name, a.To)
		}
		return fmt.Sprintf("%s %s: written to the file system in place of %s", a.Name, a.To, a.From)
	case DeleteRecord:
		return fmt.Sprintf("%s %s: deleted in the database, since the file system has no such package", a.Name, a.From)
	case InsertRecord:
		return fmt.Sprintf("%s %s: inserted into the database", a.Name, a.To)
	case ReplaceRecord:
		return fmt.Sprintf("%s %s: takes the place of %s in the database", a.Name, a.To, a.From)
	default:
		return fmt.Sprintf("%s: left as it is: %s", a.Name, a.Why)
	}
}

// Plan returns what brings both sides into agreement, sorted by name: the source overrides the
// other side. A side that is damaged is never a source.
func Plan(source configs.PackageSource, pairs []Pair) (actions []Action) {
	decide := databaseDecides
	if source == configs.SourceFilesystem {
		decide = filesDecide
	}
	for _, p := range pairs {
		if p.Busy != "" {
			actions = append(actions, Action{Name: p.Name, Kind: LeaveUntouched, Why: p.Busy})
			continue
		}
		if a, needed := decide(p); needed {
			a.Name = p.Name
			actions = append(actions, a)
		}
	}
	slices.SortFunc(actions, func(a, b Action) int { return cmp.Compare(a.Name, b.Name) })
	return actions
}

// databaseDecides makes the file system as the database is.
func databaseDecides(p Pair) (a Action, needed bool) {
	switch {
	case p.Database == nil && p.Files == nil:
		return a, false
	case p.Database == nil && p.Files.Damaged != "":
		return Action{Kind: LeaveUntouched, Why: p.Files.Damaged}, true
	case p.Database == nil:
		return Action{Kind: DeleteFiles, From: p.Files.Version}, true
	case p.Files != nil && p.Files.Damaged == "" && p.Files.Digest == p.Database.Digest:
		return a, false
	case p.Database.Damaged != "":
		return Action{Kind: LeaveUntouched, Why: p.Database.Damaged}, true
	case p.Files == nil:
		return Action{Kind: WriteFiles, To: p.Database.Version}, true
	}
	return Action{Kind: WriteFiles, From: cmp.Or(p.Files.Version, "what is damaged"), To: p.Database.Version}, true
}

// filesDecide makes the database as the file system is.
func filesDecide(p Pair) (a Action, needed bool) {
	switch {
	case p.Database == nil && p.Files == nil:
		return a, false
	case p.Files == nil:
		return Action{Kind: DeleteRecord, From: p.Database.Version}, true
	case p.Files.Damaged != "":
		return Action{Kind: LeaveUntouched, Why: p.Files.Damaged}, true
	case p.Database == nil:
		return Action{Kind: InsertRecord, To: p.Files.Version}, true
	case p.Files.Digest == p.Database.Digest:
		return a, false
	}
	return Action{Kind: ReplaceRecord, From: p.Database.Version, To: p.Files.Version}, true
}
