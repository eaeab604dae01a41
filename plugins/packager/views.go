package packager

import (
	"strings"
	"time"

	"dormouse/plugins/packager/records"
)

// summary is one package as a list shows it.
type summary struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Origin  string `json:"origin"`
	// Status is for people: "FAILED (rollback available)".
	Status   string `json:"status"`
	State    string `json:"state"`
	Disabled bool   `json:"disabled"`
	// Phase and Target are empty while no operation is under way.
	Phase  string `json:"phase,omitempty"`
	Target string `json:"target,omitempty"`
	// CanRollback says that the version before can be put back now.
	CanRollback bool      `json:"canrollback"`
	Reason      string    `json:"reason,omitempty"`
	Since       time.Time `json:"since"`
	// Wish says why what the central repository wishes is not installed.
	Wish string `json:"wish,omitempty"`
}

// summaryOf returns a record as a list shows it.
func summaryOf(r records.Record) summary {
	s := summary{
		Name: r.Name, Version: r.ShownVersion(), Origin: string(r.Origin()), Status: r.Status(),
		State: strings.ToUpper(string(r.State)), Disabled: r.Disabled,
		CanRollback: r.CanRollback && r.State == records.Failed && r.Operation == nil, Since: r.Changed,
	}
	if r.Operation != nil {
		s.Phase = string(r.Operation.Phase)
		if r.Operation.Target != nil {
			s.Target = r.Operation.Target.Version
		}
	}
	if r.Failure != nil {
		s.Reason = r.Failure.Reason
	}
	return s
}

// details is all that a client can know of a package.
type details struct {
	summary

	Operation *operationView `json:"operation,omitempty"`
	Failure   *failureView   `json:"failure,omitempty"`
	Versions  []versionView  `json:"versions"`
	Instances []instanceView `json:"instances"`
	Flows     []string       `json:"flows"`
	Provides  []string       `json:"provides,omitempty"`
	Uses      []string       `json:"uses,omitempty"`
	// Missing are the types that the package uses and no package provides.
	Missing []string `json:"missing,omitempty"`
	// Verbs are the operations that are possible now.
	Verbs []string `json:"verbs"`
}

// operationView is an operation under way.
type operationView struct {
	ID     string    `json:"id"`
	Verb   string    `json:"verb"`
	Phase  string    `json:"phase"`
	Source string    `json:"source,omitempty"`
	Target string    `json:"target,omitempty"`
	By     string    `json:"by,omitempty"`
	Begun  time.Time `json:"begun"`
	// Done and Total count bytes; Total is 0 if it is not known.
	Done  int64 `json:"done,omitempty"`
	Total int64 `json:"total,omitempty"`
}

// failureView is why the last operation failed.
type failureView struct {
	Verb    string   `json:"verb"`
	Version string   `json:"version,omitempty"`
	Phase   string   `json:"phase"`
	Reason  string   `json:"reason"`
	Log     []string `json:"log"`
	// Options are those of retry, each of which would lift the refusal.
	Options []string  `json:"options,omitempty"`
	At      time.Time `json:"at"`
}

// versionView is a version that lies on the disk.
type versionView struct {
	Version   string    `json:"version"`
	Digest    string    `json:"digest"`
	Source    string    `json:"source,omitempty"`
	Origin    string    `json:"origin"`
	Key       string    `json:"key,omitempty"`
	Role      string    `json:"role"` // "serving" or "previous"
	Installed time.Time `json:"installed"`
}

// instanceView is an instance of the package.
type instanceView struct {
	Callsign string `json:"callsign"`
	State    string `json:"state"`
}

// details returns all that is known of a package.
func (p *Packager) details(r records.Record) details {
	d := details{summary: summaryOf(r), Versions: []versionView{}, Instances: []instanceView{}, Flows: p.flowNames(r), Verbs: verbsPossible(r)}
	if o := r.Operation; o != nil {
		d.Operation = &operationView{ID: o.Request.ID, Verb: string(o.Request.Verb), Phase: string(o.Phase), Source: o.Request.Source, By: o.Request.By, Begun: o.Begun, Target: d.Target}
		d.Operation.Done, d.Operation.Total = p.progress.of(r.Name)
	}
	if f := r.Failure; f != nil {
		d.Failure = &failureView{string(f.Request.Verb), f.Version, string(f.Phase), f.Reason, append([]string{}, f.Log...), f.Options, f.At}
	}
	for _, v := range []struct {
		version *records.Version
		role    string
	}{{r.Serving, "serving"}, {r.Previous, "previous"}} {
		if v.version != nil {
			d.Versions = append(d.Versions, versionView{
				v.version.Version, v.version.Digest, v.version.Source, string(v.version.Origin), v.version.Key, v.role, v.version.Installed,
			})
		}
	}
	d.Wish = p.unfulfilledWish(r.Name)
	for _, sh := range p.shellsOf(r.Name) {
		d.Instances = append(d.Instances, instanceView{sh.Callsign(), string(sh.State())})
	}
	if r.Serving != nil {
		d.Provides, d.Uses = typeTexts(r.Serving.Provides), typeTexts(r.Serving.Uses)
		d.Missing = p.missingTypes(r)
	}
	return d
}

// verbsPossible returns the operations that a client may ask for in the state of a package.
func verbsPossible(r records.Record) []string {
	if r.Operation != nil {
		if r.Operation.Phase.CanCancel() {
			return []string{"cancel"}
		}
		return []string{}
	}
	verbs := []string{"upgrade", "uninstall"}
	if r.Disabled {
		verbs = append(verbs, "enable")
	} else {
		verbs = append(verbs, "disable")
	}
	if r.Failure != nil {
		verbs = append(verbs, "retry")
	}
	if r.State == records.Failed && r.CanRollback {
		verbs = append(verbs, "rollback")
	}
	return verbs
}

// historyLine is an operation that has ended.
type historyLine struct {
	Package   string    `json:"package"`
	Operation string    `json:"operation"`
	Verb      string    `json:"verb"`
	From      string    `json:"from,omitempty"`
	To        string    `json:"to,omitempty"`
	Source    string    `json:"source,omitempty"`
	By        string    `json:"by,omitempty"`
	Result    string    `json:"result"`
	Reason    string    `json:"reason,omitempty"`
	Begun     time.Time `json:"begun"`
	Ended     time.Time `json:"ended"`
}

func historyLineOf(e records.Ended) historyLine {
	return historyLine{
		e.Package, e.Request.ID, string(e.Request.Verb), e.From, e.To, e.Request.Source, e.Request.By, e.Result, e.Reason, e.Begun, e.Ended,
	}
}
