// Package records keeps what is known of each package: its state, its versions and the
// operation under way. A change is on disk before it can be seen. The package does not know
// what an operation does.
package records

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dormouse/configs"
)

// Origin says where a package came from.
type Origin string

// The origins of packages.
const (
	Bundled  Origin = "bundled"  // with Dormouse
	Official Origin = "official" // from the catalogue, or wanted by the central registry
	Local    Origin = "local"    // what a client named: a path, an address, or an upload
)

// Phase is what an operation does now.
type Phase string

// The phases of operations. From Switching on an operation can't be canceled.
const (
	Waiting    Phase = "waiting"
	Fetching   Phase = "fetching"
	Verifying  Phase = "verifying"
	Unpacking  Phase = "unpacking"
	Probing    Phase = "probing"
	Switching  Phase = "switching"
	Trial      Phase = "trial"
	Restoring  Phase = "restoring" // the data of the version before is put back
	Starting   Phase = "starting"
	Draining   Phase = "draining"
	Ending     Phase = "ending"
	Discarding Phase = "removing"
)

// CanCancel reports whether an operation can be canceled in this phase.
func (p Phase) CanCancel() bool {
	return slices.Contains([]Phase{Waiting, Fetching, Verifying, Unpacking, Probing, Draining}, p)
}

// Verb is a kind of operation.
type Verb string

// The kinds of operations.
const (
	Install   Verb = "install"
	Upgrade   Verb = "upgrade"
	Rollback  Verb = "rollback"
	Uninstall Verb = "uninstall"
	Enable    Verb = "enable"
	Disable   Verb = "disable"
)

// Version is one version of a package that lies on the disk.
type Version struct {
	Version string `json:"version"`
	// Digest is that of the file SHA256SUMS, "sha256:…".
	Digest string `json:"digest"`
	// Fingerprint tells an untouched directory from a changed one without reading its files.
	Fingerprint string `json:"fingerprint,omitempty"`
	Source      string `json:"source,omitempty"`
	Origin      Origin `json:"origin"`
	Data        int    `json:"data,omitempty"`
	Key         string `json:"key,omitempty"` // that the package is signed with
	// Good says that the version has served: it can be put back.
	Good bool `json:"good,omitempty"`
	// Provides holds the types that the package provides, each with its version, and Uses those
	// that it needs, each with a range of versions.
	Provides  map[string]string `json:"provides,omitempty"`
	Uses      map[string]string `json:"uses,omitempty"`
	Installed time.Time         `json:"installed"`
}

// Request is what a client asks an operation for.
type Request struct {
	ID   string `json:"id"`
	Verb Verb   `json:"verb"`
	// Source is an archive, a directory, a reference or a name of the catalogue.
	Source       string `json:"source,omitempty"`
	Version      string `json:"version,omitempty"`
	Architecture string `json:"architecture,omitempty"`
	Origin       Origin `json:"origin,omitempty"`
	// Named is the name of the package if it is known before the source is read.
	Named string `json:"named,omitempty"`
	// ToTrash says that the archive of what is removed goes to the trash.
	ToTrash bool `json:"totrash,omitempty"`
	// Uploaded says that Source is a file of the host itself, which goes once it was used.
	Uploaded bool `json:"uploaded,omitempty"`
	// By says which client asks, for the history.
	By string `json:"by,omitempty"`
	// FromHere says that the source lies on this machine and was named by an administrator.
	FromHere bool `json:"fromhere,omitempty"`

	// Unpacked is the digest of a version that lies on the disk already: nothing is fetched.
	Unpacked string `json:"unpacked,omitempty"`

	Replace   bool `json:"replace,omitempty"`
	Downgrade bool `json:"downgrade,omitempty"`
	Grant     bool `json:"grant,omitempty"`

	Drain   bool `json:"drain,omitempty"`
	Discard bool `json:"discard,omitempty"`
	Force   bool `json:"force,omitempty"`
	Purge   bool `json:"purge,omitempty"`
}

// Operation is an operation under way.
type Operation struct {
	Request Request `json:"request"`
	Phase   Phase   `json:"phase"`
	// From is the version that served when the operation began, empty for none.
	From string `json:"from,omitempty"`
	// Target is the version that is to serve, nil while it is not known.
	Target *Version `json:"target,omitempty"`
	// Earlier is what Previous was before the switch.
	Earlier *Version `json:"earlier,omitempty"`
	// Cold says that no instance runs while the version changes.
	Cold bool `json:"cold,omitempty"`
	// Kept holds the instances whose data was kept: the new version starts on theirs.
	Kept map[string]bool `json:"kept,omitempty"`
	// Was holds the states in which instances were before.
	Was map[string]string `json:"was,omitempty"`
	// Starts is how many hosts have begun the operation.
	Starts int       `json:"starts"`
	Begun  time.Time `json:"begun"`
}

// NoteKept notes that the data of an instance is kept.
func (o *Operation) NoteKept(callsign string) {
	if o.Kept == nil {
		o.Kept = make(map[string]bool)
	}
	o.Kept[callsign] = true
}

// IsCold reports whether no instance may run now, since its data or its version changes.
func (o *Operation) IsCold() bool {
	return o.Phase == Restoring || o.Phase == Ending || o.Phase == Switching && o.Cold
}

// Failure is why an operation failed.
type Failure struct {
	Request Request  `json:"request"`
	Version string   `json:"version,omitempty"`
	Phase   Phase    `json:"phase"`
	Reason  string   `json:"reason"`
	Log     []string `json:"log,omitempty"`
	// Options are those of the request, each of which would lift the refusal.
	Options []string  `json:"options,omitempty"`
	At      time.Time `json:"at"`
}

// Record is what is known of one package.
type Record struct {
	Name     string `json:"name"`
	State    State  `json:"state"`
	Disabled bool   `json:"disabled,omitempty"`
	// Serving is the version whose instances exist, nil before there is one.
	Serving *Version `json:"serving,omitempty"`
	// Previous is the version before, which is kept on disk.
	Previous *Version `json:"previous,omitempty"`
	// CanRollback says that Previous can be put back with its data.
	CanRollback bool `json:"canrollback,omitempty"`
	// Was holds the states of the instances before the switch that failed.
	Was       map[string]string `json:"was,omitempty"`
	Operation *Operation        `json:"operation,omitempty"`
	Failure   *Failure          `json:"failure,omitempty"`
	// Flows are those that the first installation declared: they take messages while it is under
	// way, and after it has failed. The manifest of Serving says which there are once it is there.
	Flows   []configs.Flow `json:"flows,omitempty"`
	Changed time.Time      `json:"changed"`
}

// Status returns the state as people read it: "FAILED (rollback available)".
func (r Record) Status() string {
	state := strings.ToUpper(string(r.State))
	switch {
	case r.State == Failed && r.Operation == nil && r.CanRollback:
		return state + " (rollback available)"
	case r.Disabled && r.Operation == nil && r.State == Installed:
		return "DISABLED"
	case r.Operation != nil && (r.State == Installed || r.State == Failed):
		return fmt.Sprintf("%s (%s: %s)", state, r.Operation.title(), r.Operation.Phase)
	case r.Operation != nil && r.State != Pending:
		return fmt.Sprintf("%s (%s)", state, r.Operation.Phase)
	case r.State == Installed && r.Failure != nil:
		return fmt.Sprintf("%s (%s failed)", state, r.Failure.title())
	}
	return state
}

// MustKeep reports whether the data of an instance must be kept before Serving begins on it, since
// Previous may be put back with that data.
func (r Record) MustKeep(callsign string) bool {
	return r.CanRollback && r.Operation != nil && !r.Operation.Kept[callsign]
}

// HidesFlows reports whether a first installation has not come so far, or has failed before it
// came so far, that the package's flows are known.
func (r Record) HidesFlows() bool {
	phase := Waiting
	switch {
	case r.Serving != nil || r.Flows != nil || r.State == Removing:
		return false
	case r.Operation != nil:
		phase = r.Operation.Phase
	case r.Failure != nil:
		phase = r.Failure.Phase
	}
	return slices.Contains([]Phase{Waiting, Fetching, Verifying}, phase)
}

// title returns what the operation does, as "upgrade to 2.0.0".
func (o *Operation) title() string {
	version := o.Request.Version
	if o.Target != nil {
		version = o.Target.Version
	}
	return title(o.Request.Verb, version)
}

func (f *Failure) title() string { return title(f.Request.Verb, f.Version) }

func title(verb Verb, version string) string {
	if version == "" || verb != Upgrade && verb != Rollback {
		return string(verb)
	}
	return string(verb) + " to " + version
}

// ShownVersion returns the version that a list shows: the one that serves, else the one that
// is asked for.
func (r Record) ShownVersion() string {
	switch {
	case r.Serving != nil:
		return r.Serving.Version
	case r.Operation != nil && r.Operation.Target != nil:
		return r.Operation.Target.Version
	case r.Operation != nil:
		return r.Operation.Request.Version
	case r.Failure != nil:
		return r.Failure.Version
	}
	return ""
}

// Origin returns where the version that is shown came from.
func (r Record) Origin() Origin {
	switch {
	case r.Serving != nil:
		return r.Serving.Origin
	case r.Operation != nil:
		return r.Operation.Request.Origin
	case r.Failure != nil:
		return r.Failure.Request.Origin
	}
	return Local
}

// copied returns a copy that shares nothing with r.
func (r Record) copied() Record {
	if r.Serving != nil {
		v := *r.Serving
		r.Serving = &v
	}
	if r.Previous != nil {
		v := *r.Previous
		r.Previous = &v
	}
	r.Was = maps.Clone(r.Was)
	if r.Operation != nil {
		o := *r.Operation
		if o.Target != nil {
			v := *o.Target
			o.Target = &v
		}
		if o.Earlier != nil {
			v := *o.Earlier
			o.Earlier = &v
		}
		o.Kept, o.Was = maps.Clone(o.Kept), maps.Clone(o.Was)
		r.Operation = &o
	}
	if r.Failure != nil {
		f := *r.Failure
		f.Log, f.Options = slices.Clone(f.Log), slices.Clone(f.Options)
		r.Failure = &f
	}
	return r
}
