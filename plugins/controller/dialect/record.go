package dialect

import (
	"encoding/json"
	"slices"

	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// Record is the state and configuration of an instance. The dialects give its
// fields different JSON names, orders and spellings.
type Record struct {
	Callsign, Locator, ClassName, Module string
	State, StartMode                     string // in lower case
	AutoStart, Resumed                   bool
	StartupOrder                         int
	WebUI, Communicator                  string
	// Postfix is the name of the instance's directories.
	Postfix                               string
	Preconditions, Terminations, Controls []string
	Configuration                         json.RawMessage
	Version                               Version
	ProcessedRequests                     int64
	Observers                             int
	Additions
}

// WithoutDetails returns the record without what only operators may see: configuration,
// paths, and texts that may hold either or a plugin's output. These members are empty.
func (r Record) WithoutDetails() Record {
	r.Locator, r.WebUI, r.Communicator = "", "", ""
	r.Configuration = json.RawMessage("{}")
	r.Error, r.Why = "", ""
	r.Lost = slices.Clone(r.Lost)
	for i := range r.Lost {
		r.Lost[i] = r.Lost[i].WithoutDetails()
	}
	r.History = slices.Clone(r.History)
	for i := range r.History {
		r.History[i].Error = ""
	}
	return r
}

// Additions are the members of a record that Thunder's records do not have. They are
// the same in every dialect.
type Additions struct {
	PID        int             `json:"pid,omitempty"`
	Memory     int64           `json:"memory,omitempty"` // bytes
	Image      *Image          `json:"image,omitempty"`
	Warm       *WarmStart      `json:"warm,omitempty"`
	Transition shell.State     `json:"transition,omitempty"`
	Progress   *shell.Progress `json:"progress,omitempty"`
	Loading    *shell.Progress `json:"loading,omitempty"`
	ImageRead  int64           `json:"imageread,omitempty"` // bytes
	Restarts   int             `json:"restarts,omitempty"`
	Reason     string          `json:"reason"`
	Since      string          `json:"since"`
	Error      string          `json:"error,omitempty"`
	Package    string          `json:"package,omitempty"` // that the instance comes from
	Parent     string          `json:"parent,omitempty"`  // of a virtual plugin
	Clone      *Clone          `json:"clone,omitempty"`
	Lost       []Loss          `json:"lost,omitempty"` // not acknowledged yet
	Why        string          `json:"why,omitempty"`
	History    []Transition    `json:"history,omitempty"`
}

// Version is the version of a program, and the commit that it was built from.
type Version struct {
	Hash string `json:"hash"`
	shell.Version
}

// Image is what hibernation left of an instance, on disk or in the swap.
type Image struct {
	Engine  string `json:"engine"`
	Bytes   int64  `json:"bytes"`
	Created string `json:"created"`
}

// WarmStart is the golden image that an instance was started from, and the generation
// of that start.
type WarmStart struct {
	Created    string `json:"created"`
	Generation uint64 `json:"generation"`
}

// Clone says where a clone has its configuration from.
type Clone struct {
	// Of is the callsign of its source. Gone is set when the source does not exist; the
	// clone then keeps the source's last configuration.
	Of   string `json:"of"`
	Gone bool   `json:"gone,omitempty"`
	// Own are the keys that the clone does not have from its source.
	Own []string `json:"own,omitempty"`
}

// Loss is the state of a hibernated plugin that was given up.
type Loss struct {
	At    string `json:"at"`
	Cause string `json:"cause,omitempty"`
	// Class is "lasting" or "untrusted", empty for an image that was evicted.
	Class      hibernate.FailureClass `json:"class,omitempty"`
	Generation uint64                 `json:"generation,omitempty"`
	// Path is where the image lies until the time Until, both empty if it is gone.
	Path       string `json:"path,omitempty"`
	Until      string `json:"until,omitempty"`
	Restorable bool   `json:"restorable,omitempty"`
}

// WithoutDetails returns the loss without the texts that may hold paths.
func (l Loss) WithoutDetails() Loss {
	l.Cause, l.Path = "", ""
	return l
}

// Transition is one earlier change of an instance's state.
type Transition struct {
	At      string             `json:"at"`
	Event   shell.Event        `json:"event"`
	From    shell.State        `json:"from"`
	To      shell.State        `json:"to"`
	Reason  string             `json:"reason,omitempty"`
	Error   string             `json:"error,omitempty"`
	Control statecontrol.State `json:"control,omitempty"`
}

// Explanation is why an instance is awake or asleep, and what happens next.
type Explanation struct {
	Callsign string      `json:"callsign"`
	State    shell.State `json:"state"`
	Why      string      `json:"why"`
	Keeps    []string    `json:"keepsawake,omitempty"`
	Next     *NextSleep  `json:"next,omitempty"`
	LastUse  string      `json:"lastuse,omitempty"`
	Saves    int64       `json:"saves,omitempty"`
	// Loading is left out once all of the memory is loaded.
	Loading  *shell.Progress `json:"loading,omitempty"`
	Obstacle string          `json:"obstacle,omitempty"`
	Failure  string          `json:"failure,omitempty"`
	Retry    string          `json:"retry,omitempty"`
	Resumes  bool            `json:"resumes,omitempty"`
	// Golden is the image that the next start begins from. Cold is why the next
	// start is a cold one. Both are empty without warm-start.
	Golden *Image `json:"golden,omitempty"`
	Cold   string `json:"cold,omitempty"`
}

// NextSleep is the tier of sleep that the policy takes next, when and why. With DryRun
// the policy only logs it.
type NextSleep struct {
	Do      string `json:"do"`
	At      string `json:"at"`
	Because string `json:"because"`
	DryRun  bool   `json:"dryrun,omitempty"`
}

// WithoutDetails returns the explanation without the texts that may hold paths or a plugin's
// output.
func (e Explanation) WithoutDetails() Explanation {
	e.Why, e.Keeps = "", nil
	e.Obstacle, e.Failure, e.Cold = "", "", ""
	return e
}
