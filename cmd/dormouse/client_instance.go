package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"dormouse/hibernate/pageout"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// instanceRecord is an instance as Controller.status returns it in the dialect R4.
type instanceRecord struct {
	Callsign      string          `json:"callsign"`
	Locator       string          `json:"locator"`
	ClassName     string          `json:"classname"`
	Configuration json.RawMessage `json:"configuration"`
	StartupOrder  int             `json:"startuporder"`
	StartMode     string          `json:"startmode"`
	State         string          `json:"state"`
	Requests      int64           `json:"processedrequests"`
	Observers     int             `json:"observers"`
	Version       shell.Version   `json:"version"`
	Precondition  []string        `json:"precondition"`
	Termination   []string        `json:"termination"`
	Control       []string        `json:"control"`

	dialect.Additions
	raw json.RawMessage // the whole record as the host sent it
}

// UnmarshalJSON keeps the record as the host sent it, beside the fields that are read.
func (r *instanceRecord) UnmarshalJSON(raw []byte) error {
	type plain instanceRecord
	r.raw = bytes.Clone(raw)
	return json.Unmarshal(raw, (*plain)(r))
}

// MarshalJSON returns the record as the host sent it.
func (r instanceRecord) MarshalJSON() ([]byte, error) { return r.raw.MarshalJSON() }

// transitionOrState returns the transition that is under way, else the state of the
// instance.
func (r instanceRecord) transitionOrState() string {
	if r.Transition != "" {
		return string(r.Transition)
	}
	return r.State
}

// isRunning reports whether the plugin runs: whether it is activated, suspended or resumed.
func (r instanceRecord) isRunning() bool {
	return r.State == "activated" || r.State == "suspended" || r.State == "resumed"
}

// imageOrSwapBytes returns the size of the image of a hibernated instance, or of its
// memory in the swap; 0 for an instance that is not hibernated.
func (r instanceRecord) imageOrSwapBytes() int64 {
	if r.Image == nil {
		return 0
	}
	return r.Image.Bytes
}

// sleepsInPlace reports whether the plugin is paged out instead of stored on disk.
func (r instanceRecord) sleepsInPlace() bool {
	return r.Image != nil && r.Image.Engine == (pageout.Engine{}).Name()
}

// listInstances returns all instances, or only the one of onlyCallsign if that is not "".
func (c *client) listInstances(ctx context.Context, onlyCallsign string) ([]instanceRecord, error) {
	method := "Controller.status"
	if onlyCallsign != "" {
		method += "@" + onlyCallsign
	}
	result, err := c.call(ctx, method, nil)
	if err != nil {
		return nil, err
	}
	var all []instanceRecord
	if err := json.Unmarshal(result, &all); err != nil {
		return nil, fmt.Errorf("cannot understand the host's status: %w", err)
	}
	return all, nil
}

// leftOutFile is a configuration file that the host could not use when it started.
type leftOutFile struct {
	Faults    string   `json:"faults"`
	Callsigns []string `json:"callsigns"`
	Complete  bool     `json:"complete"`
}

// warningText says in a line which plugins are missing because of the file.
func (f leftOutFile) warningText() string {
	missing := strings.Join(f.Callsigns, ", ")
	switch {
	case missing == "" && f.Complete:
		missing = "no plugin"
	case missing == "":
		missing = "plugins that can't be told"
	case !f.Complete:
		missing += " and maybe others"
	}
	return fmt.Sprintf("missing: %s, for what is wrong at %s; `config check` says more, `reload` adds them once it is mended", missing, f.Faults)
}

// leftOutFiles returns the configuration files that the host could not use, nil if it does not
// say.
func (c *client) leftOutFiles(ctx context.Context) (files []leftOutFile) {
	if result, err := c.call(ctx, "Controller.missing", nil); err == nil {
		_ = json.Unmarshal(result, &files) // the list is right without them
	}
	return files
}

// storeDamage returns what is damaged of the host's store and what to do, "" for nothing or if the
// host does not say.
func (c *client) storeDamage(ctx context.Context) (damage, mend string) {
	var found struct {
		Damage string `json:"damage"`
		Mend   string `json:"mend"`
	}
	if result, err := c.call(ctx, "Controller.store", nil); err == nil {
		_ = json.Unmarshal(result, &found) // the list is right without it
	}
	return found.Damage, found.Mend
}

// getInstance returns one instance. If it does not exist, the error lists similar
// callsigns, or all of them.
func (c *client) getInstance(ctx context.Context, callsign string) (instanceRecord, error) {
	found, err := c.listInstances(ctx, callsign)
	switch {
	case hasAnyErrorNumber(err, thunder.UnknownKey):
		return instanceRecord{}, c.unknownInstanceError(ctx, callsign, err)
	case err != nil:
		return instanceRecord{}, err
	case len(found) != 1:
		return instanceRecord{}, fmt.Errorf("cannot understand the host's status of %s: it holds %d records", callsign, len(found))
	}
	return found[0], nil
}
