package controller

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// record is an instance as status shows it: Thunder's members, then ours.
type record struct {
	Callsign          string          `json:"callsign"`
	Locator           string          `json:"locator"`
	ClassName         string          `json:"classname"`
	AutoStart         bool            `json:"autostart"`
	Resumed           bool            `json:"resumed"`
	Configuration     json.RawMessage `json:"configuration"`
	StartupOrder      int             `json:"startuporder"`
	StartMode         string          `json:"startmode"`
	State             string          `json:"state"`
	ProcessedRequests int64           `json:"processedrequests"`
	ProcessedObjects  int64           `json:"processedobjects"`
	Observers         int             `json:"observers"`
	Module            string          `json:"module"`
	Version           versionRecord   `json:"version"`

	PID        int              `json:"pid,omitempty"`
	Memory     int64            `json:"memory,omitempty"`
	Image      *imageRecord     `json:"image,omitempty"`
	Transition shell.State      `json:"transition,omitempty"`
	Progress   *shell.Progress  `json:"progress,omitempty"`
	Reason     string           `json:"reason"`
	Since      string           `json:"since"`
	Error      string           `json:"error,omitempty"`
	History    []historyElement `json:"history,omitempty"`
}

type versionRecord struct {
	Hash string `json:"hash"`
	shell.Version
}

type imageRecord struct {
	Bytes   int64  `json:"bytes"`
	Created string `json:"created"`
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
			return nil, &fault{number: unknownKey}
		}
		st := sh.Status()
		one := r.front.record(st)
		one.History = history(st)
		return r.front.dialect.indexed(one), nil
	}
	all := []any{}
	for _, sh := range r.front.supervisor.Shells() {
		all = append(all, r.front.dialect.status(r.front.record(sh.Status())))
	}
	return all, nil
}

func serveVersion(_ context.Context, r request) (any, error) {
	return versionRecord{Hash: r.front.version, Version: parseVersion(r.front.version)}, nil
}

func (f *Front) record(st shell.Status) record {
	r := record{
		Callsign:          st.Config.Callsign,
		Locator:           st.Config.Executable,
		ClassName:         st.Information.Class,
		AutoStart:         st.Config.StartMode == configs.StartActivated,
		Resumed:           st.Config.Resumed(),
		Configuration:     st.Config.ConfigurationJSON(),
		StartupOrder:      st.Config.StartupOrder,
		StartMode:         pascal(string(st.Config.StartMode)),
		State:             stateText(st),
		ProcessedRequests: f.processed.of(st.Config.Callsign),
		Observers:         f.events.count(st.Config.Callsign),
		Version:           versionRecord{Version: st.Information.Version},
		PID:               st.Facts.PID,
		Memory:            st.Facts.Memory,
		Reason:            pascal(string(st.Reason)),
		Since:             timeText(st.Since),
	}
	if r.ClassName == "" {
		r.ClassName = program(st.Config)
	}
	r.Module = program(st.Config)
	if st.Image != nil {
		r.Image = &imageRecord{st.Image.Bytes, timeText(st.Image.Created)}
	}
	if st.State == shell.Hibernating || st.State == shell.Waking {
		r.Transition = st.State
		r.Progress = &st.Progress
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
			Reason:  pascal(string(t.Reason)),
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

// counters counts the calls to each instance.
type counters struct {
	mu         sync.Mutex
	byCallsign map[string]int64
}

func (c *counters) add(callsign string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCallsign == nil {
		c.byCallsign = make(map[string]int64)
	}
	c.byCallsign[callsign]++
}

func (c *counters) of(callsign string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byCallsign[callsign]
}
