package supervisor

// RosterChange says that an instance has come, has changed its description, or has gone, or that
// all are there. The instance may be of any source, a clone or a virtual plugin.
type RosterChange struct {
	Callsign string // empty for RosterComplete
	// Parent is the callsign of the parent of a virtual plugin, empty for any other instance.
	Parent string
	Kind   RosterChangeKind
}

// RosterChangeKind is what has happened to an instance.
type RosterChangeKind string

// The kinds of changes.
const (
	RosterCreated RosterChangeKind = "created"
	// RosterChanged means that others may find the instance by another profile, or that its
	// configuration has changed.
	RosterChanged RosterChangeKind = "changed"
	// RosterRemoved means that the instance exists no more. What is kept of it may come back.
	RosterRemoved RosterChangeKind = "removed"
	// RosterComplete means that no instance is missing any more: a reload has read all files, also
	// those that were left out when the host started. See Supervisor.IsMissing.
	RosterComplete RosterChangeKind = "complete"
)

// Roster calls Roster of each listener.
func (e *events) Roster(change RosterChange) {
	for _, l := range e.currentListeners() {
		l.Roster(change)
	}
}

// tellDescribed tells the listeners that the plugin of an instance describes itself in another way
// than before. An instance that is not on the roster yet is told of as created.
func (s *Supervisor) tellDescribed(callsign string) {
	if _, exists := s.Shell(callsign); exists {
		s.events.Roster(RosterChange{Callsign: callsign, Kind: RosterChanged})
	}
}
