package controller

import (
	"context"
	"encoding/json"
	"path/filepath"
	"time"

	"dormouse/configs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// record is what there is to say of an instance. Which members it has on the
// wire, in which order and words, is the dialect's.
type record struct {
	Callsign, Locator, ClassName, Module string
	State, StartMode                     string // in lower case
	AutoStart, Resumed                   bool
	StartupOrder                         int
	WebUI, Communicator                  string
	// Postfix is the name of the instance's directories.
	Postfix                               string
	Preconditions, Terminations, Controls []string
	Configuration                         json.RawMessage
	Version                               versionRecord
	ProcessedRequests                     int64
	Observers                             int
	additions
}

// additions are members of ours, the same in every dialect.
type additions struct {
	PID        int              `json:"pid,omitempty"`
	Memory     int64            `json:"memory,omitempty"`
	Image      *imageRecord     `json:"image,omitempty"`
	Warm       *warmRecord      `json:"warm,omitempty"`
	Transition shell.State      `json:"transition,omitempty"`
	Progress   *shell.Progress  `json:"progress,omitempty"`
	Loading    *shell.Progress  `json:"loading,omitempty"`
	Restarts   int              `json:"restarts,omitempty"`
	Reason     string           `json:"reason"`
	Since      string           `json:"since"`
	Error      string           `json:"error,omitempty"`
	Why        string           `json:"why,omitempty"`
	History    []historyElement `json:"history,omitempty"`
}

type versionRecord struct {
	Hash string `json:"hash"`
	shell.Version
}

type imageRecord struct {
	Engine  string `json:"engine"`
	Bytes   int64  `json:"bytes"`
	Created string `json:"created"`
}

func sleepRecord(s *shell.Sleep) *imageRecord {
	return &imageRecord{s.Engine, s.Bytes, timeText(s.Since)}
}

// warmRecord is the golden image that a plugin began from, and the number of its
// life.
type warmRecord struct {
	Created    string `json:"created"`
	Generation uint64 `json:"generation"`
}

type historyElement struct {
	At      string             `json:"at"`
	Event   shell.Event        `json:"event"`
	From    shell.State        `json:"from"`
	To      shell.State        `json:"to"`
	Reason  string             `json:"reason,omitempty"`
	Error   string             `json:"error,omitempty"`
	Control statecontrol.State `json:"control,omitempty"`
}

func serveStatus(_ context.Context, r request) (any, error) {
	if r.index != "" {
		sh, ok := r.front.supervisor.Shell(r.index)
		if !ok {
			return nil, thunder.NewError(thunder.UnknownKey, nil)
		}
		st := sh.Status()
		one := r.front.record(st)
		one.History = history(st)
		one.Why = r.front.supervisor.Why(r.index)
		return r.dialect().indexed(one), nil
	}
	all := []any{}
	for _, sh := range r.front.supervisor.Shells() {
		all = append(all, r.dialect().status(r.front.record(sh.Status())))
	}
	return all, nil
}

func (f *Front) record(st shell.Status) record {
	r := record{
		Callsign:          st.Config.Callsign,
		Locator:           st.Config.Executable,
		ClassName:         st.Information.Class,
		Module:            program(st.Config),
		State:             stateText(st),
		StartMode:         string(st.Config.StartMode),
		AutoStart:         st.Config.StartMode == configs.StartActivated,
		Resumed:           st.Config.Resumed(),
		StartupOrder:      st.Config.StartupOrder,
		WebUI:             st.Config.WebUI,
		Preconditions:     st.Preconditions(),
		Terminations:      st.Terminations(),
		Controls:          st.Controls(),
		Configuration:     st.Config.ConfigurationJSON(),
		Version:           versionRecord{Version: st.Information.Version},
		ProcessedRequests: f.processed.of(st.Config.Callsign),
		Observers:         f.events.count(st.Config.Callsign),
		additions: additions{
			PID:    st.Facts.PID,
			Memory: st.Facts.Memory,
			Reason: thunder.PascalCase(string(st.Reason)),
			Since:  timeText(st.Since),
		},
	}
	if st.Config.Executable != "" {
		r.Communicator, r.Postfix = f.options.Host.Communicator, st.Config.Callsign
	}
	if f.options.Restarts != nil {
		r.Restarts = f.options.Restarts(st.Config.Callsign)
	}
	if r.ClassName == "" {
		r.ClassName = program(st.Config)
	}
	if st.Sleep != nil {
		r.Image = sleepRecord(st.Sleep)
	}
	if st.StartedFrom != nil {
		r.Warm = &warmRecord{timeText(st.StartedFrom.Created), st.StartedFrom.Generation}
	}
	if st.State == shell.Hibernating || st.State == shell.Waking {
		r.Transition = st.State
		r.Progress = &st.Progress
	}
	if loading := st.Facts.Loading; loading.Total > 0 {
		r.Loading = &loading
	}
	if st.Err != nil {
		r.Error = st.Err.Error()
	}
	return r
}

// program is the name of what an instance runs.
func program(c configs.Plugin) string {
	if c.Executable == "" {
		return c.Callsign
	}
	return filepath.Base(c.Executable)
}

// stateText is the state in Thunder's words: those that it does not have show
// as the state they came from.
func stateText(st shell.Status) string {
	switch st.State {
	case shell.Waking:
		return string(shell.Hibernated)
	case shell.Activated, shell.Hibernating:
		switch st.Control {
		case "":
			return string(shell.Activated)
		case statecontrol.Resumed:
			return string(statecontrol.Resumed)
		default:
			return string(statecontrol.Suspended)
		}
	default:
		return string(st.State)
	}
}

func history(st shell.Status) []historyElement {
	var h []historyElement
	for _, t := range st.History {
		e := historyElement{
			At:      timeText(t.At),
			Event:   t.Event,
			From:    t.From,
			To:      t.To,
			Reason:  thunder.PascalCase(string(t.Reason)),
			Control: t.Control,
		}
		if t.Err != nil {
			e.Error = t.Err.Error()
		}
		h = append(h, e)
	}
	return h
}

func timeText(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }
