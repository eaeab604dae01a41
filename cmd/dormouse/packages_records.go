package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dormouse/internal/bytesize"
	"dormouse/plugins/thunder"
)

// installedPackage is a package as Packager.list and Packager.show return it.
type installedPackage struct {
	Name        string `json:"name"`
	Version     string `json:"version"`
	Origin      string `json:"origin"`
	Status      string `json:"status"`
	State       string `json:"state"`
	Disabled    bool   `json:"disabled"`
	Phase       string `json:"phase"`
	Target      string `json:"target"`
	CanRollback bool   `json:"canrollback"`
	Reason      string `json:"reason"`
	Since       string `json:"since"`

	Operation *struct {
		Verb   string `json:"verb"`
		Phase  string `json:"phase"`
		Source string `json:"source"`
		Target string `json:"target"`
		Begun  string `json:"begun"`
		Done   int64  `json:"done"`
		Total  int64  `json:"total"`
	} `json:"operation"`
	Failure *struct {
		Verb    string   `json:"verb"`
		Version string   `json:"version"`
		Phase   string   `json:"phase"`
		Reason  string   `json:"reason"`
		Log     []string `json:"log"`
		At      string   `json:"at"`
	} `json:"failure"`
	Versions []struct {
		Version   string `json:"version"`
		Digest    string `json:"digest"`
		Source    string `json:"source"`
		Origin    string `json:"origin"`
		Key       string `json:"key"`
		Role      string `json:"role"`
		Installed string `json:"installed"`
	} `json:"versions"`
	Instances []struct {
		Callsign string `json:"callsign"`
		State    string `json:"state"`
	} `json:"instances"`
	Flows    []string `json:"flows"`
	Provides []string `json:"provides"`
	Uses     []string `json:"uses"`
	Missing  []string `json:"missing"`
	Verbs    []string `json:"verbs"`

	raw json.RawMessage // the whole record as the host sent it
}

// UnmarshalJSON keeps the record as the host sent it, beside the fields that are read.
func (r *installedPackage) UnmarshalJSON(raw []byte) error {
	type plain installedPackage
	r.raw = slices.Clone(raw)
	return json.Unmarshal(raw, (*plain)(r))
}

// MarshalJSON returns the record as the host sent it.
func (r installedPackage) MarshalJSON() ([]byte, error) { return r.raw.MarshalJSON() }

// listPackages returns all packages.
func (c *client) listPackages(ctx context.Context) (all []installedPackage, err error) {
	result, err := c.call(ctx, "Packager.list", nil)
	if err == nil {
		if err = json.Unmarshal(result, &all); err != nil {
			err = fmt.Errorf("cannot understand the host's packages: %w", err)
		}
	}
	return all, err
}

// errUnknownPackage means that no package has that name.
var errUnknownPackage = errors.New("there is no package")

// getPackage returns one package. If it does not exist, the error wraps errUnknownPackage and
// lists similar names, or all of them.
func (c *client) getPackage(ctx context.Context, name string) (r installedPackage, err error) {
	result, err := c.call(ctx, "Packager.show", map[string]string{"package": name})
	if hasAnyErrorNumber(err, thunder.UnknownKey) {
		return r, c.unknownPackageError(ctx, name)
	}
	if err == nil {
		if err = json.Unmarshal(result, &r); err != nil {
			err = fmt.Errorf("cannot understand the host's package %s: %w", name, err)
		}
	}
	return r, err
}

// unknownPackageError returns the error for a name that no package has.
func (c *client) unknownPackageError(ctx context.Context, name string) error {
	all, err := c.listPackages(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Name)
	}
	if len(names) == 0 {
		return fmt.Errorf("%w %q; none is installed", errUnknownPackage, name)
	}
	return fmt.Errorf("%w %q%s", errUnknownPackage, name, similarOrKnownWordsText(name, names))
}

// packagesTable returns the packages as a table for a person, and where to look for what failed;
// "" without packages.
func packagesTable(all []installedPackage, width int) string {
	if len(all) == 0 {
		return ""
	}
	rows := table{}
	rows.addRow("PACKAGE", "VERSION", "ORIGIN", "STATUS")
	failed := ""
	for _, r := range all {
		rows.addRow(r.Name, textOrDash(r.Version), textOrDash(r.Origin), r.statusText())
		if r.State == "FAILED" && failed == "" {
			failed = fmt.Sprintf("why %s failed: dormouse plugin show %s\n", r.Name, r.Name)
		}
	}
	return rows.alignedText(width) + failed
}

// statusText returns the status, and of an operation under way its phase and version.
func (r installedPackage) statusText() string {
	hasPhase := strings.Contains(r.Status, r.Phase)
	hasTarget := r.Target == "" || r.Target == r.Version || strings.Contains(r.Status, r.Target)
	switch {
	case r.Phase == "" || hasPhase && hasTarget:
		return r.Status
	case hasPhase:
		return r.Status + ", " + r.Target
	case hasTarget:
		return r.Status + ", " + r.Phase
	}
	return fmt.Sprintf("%s, %s %s", r.Status, r.Phase, r.Target)
}

// textOrDash returns the text, or a dash for an empty one.
func textOrDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// detailsText returns everything about the package, for a person.
func (r installedPackage) detailsText() string {
	rows := table{}
	add := func(name, value string) {
		if value != "" {
			rows.addRow(name, value)
		}
	}
	add("package", r.Name)
	add("version", r.Version)
	add("status", r.statusText())
	add("since", formatTimeAndAge(r.Since))
	add("origin", r.Origin)
	if o := r.Operation; o != nil {
		from := ""
		if o.Source != "" {
			from = " from " + o.Source
		}
		add("under way", strings.TrimSpace(o.Verb+" "+o.Target)+from+", "+o.Phase+bytesDoneText(o.Done, o.Total)+", begun "+formatTimeAndAge(o.Begun))
	}
	if f := r.Failure; f != nil {
		add("failed", fmt.Sprintf("%s, %s, at %s", strings.TrimSpace(f.Verb+" "+f.Version), f.Phase, formatTimeAndAge(f.At)))
		rows.addTextRows("reason", f.Reason)
		rows.addTextRows("log", strings.Join(f.Log, "\n"))
	}
	for _, v := range r.Versions {
		text := v.Version + ", " + v.Digest
		if v.Key != "" {
			text += ", signed by " + v.Key
		}
		add(v.Role, text+", installed "+formatTimeAndAge(v.Installed)+" from "+textOrDash(v.Source))
	}
	for _, i := range r.Instances {
		add("instance", i.Callsign+", "+i.State)
	}
	add("flows", strings.Join(r.Flows, ", "))
	add("provides", strings.Join(r.Provides, ", "))
	add("uses", strings.Join(r.Uses, ", "))
	add("missing", strings.Join(r.Missing, ", "))
	add("you can", strings.Join(r.Verbs, ", "))
	return rows.alignedText(0)
}

// print prints everything about the package.
func (r installedPackage) print(t *terminal, format *outputFormat) error {
	if format.isJSON() {
		return t.printIndentedJSON(r)
	}
	t.printf("%s", r.detailsText())
	return nil
}

// bytesDoneText returns the end of a text about an operation, which says how many bytes of how
// many are done; "" for none.
func bytesDoneText(done, total int64) string {
	switch {
	case done == 0:
		return ""
	case total == 0:
		return " " + bytesize.Format(done)
	}
	return fmt.Sprintf(" %s of %s", bytesize.Format(done), bytesize.Format(total))
}

// packageEnd is an operation on a package that has ended.
type packageEnd struct {
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

// text says what came of the operation, in one line.
func (e packageEnd) text() string {
	change := e.To
	switch {
	case e.From != "" && e.To != "" && e.From != e.To:
		change = e.From + " → " + e.To
	case e.To == "":
		change = e.From
	}
	text := strings.TrimSpace(e.Package+" "+change) + ": " + e.Verb + " " + e.Result
	if e.Reason != "" {
		text += ": " + errorCell(e.Reason)
	}
	return text + ", " + formatSeconds(e.Ended.Sub(e.Begun))
}

// instancesNamed returns the names with that of a package replaced by those of its instances. A
// callsign goes before a package of that name. A host that lists no packages has none.
func (c *client) instancesNamed(ctx context.Context, names []string) (callsigns []string) {
	for _, name := range names {
		if _, err := c.call(ctx, "Controller.status@"+name, nil); err == nil {
			callsigns = append(callsigns, name)
			continue
		}
		r, err := c.getPackage(ctx, name)
		if err != nil || len(r.Instances) == 0 {
			callsigns = append(callsigns, name)
			continue
		}
		for _, instance := range r.Instances {
			callsigns = append(callsigns, instance.Callsign)
		}
	}
	return callsigns
}
