package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
	"dormouse/shell"
)

// PostMortem configures which ends of plugins are documented in folders, and where.
type PostMortem struct {
	// Dir holds a folder for each end; empty documents nothing.
	Dir string
	// Reasons are the reasons of an end for which a folder is written.
	Reasons []string
	// Keep is how many folders there may be; the oldest are removed.
	Keep int
}

// Names of files in a folder, beside those of the evidence, and of unfinished folders.
const (
	reportName = "report.json"
	logName    = "log.txt"
	coreName   = "core"
	draftName  = ".new-"
)

// postMortems writes the folders that document ends of plugins, one at a time.
type postMortems struct {
	PostMortem
	mu sync.Mutex
}

// postMortemReport is the content of report.json.
type postMortemReport struct {
	Callsign string           `json:"callsign"`
	Reason   shell.Reason     `json:"reason"`
	Error    string           `json:"error,omitempty"`
	Exit     string           `json:"exit,omitempty"`
	Class    string           `json:"class,omitempty"`
	Version  shell.Version    `json:"version"`
	PID      int              `json:"pid,omitempty"`
	Begun    time.Time        `json:"begun,omitzero"`
	At       time.Time        `json:"at"`
	Uptime   float64          `json:"uptime-seconds,omitempty"`
	Core     string           `json:"core,omitempty"`
	Memory   map[string]int64 `json:"memory,omitempty"` // of the cgroup, in bytes
}

// writePostMortemIfWanted writes a folder about a plugin that has ended, before its
// cgroup and its log are gone, if the configuration asks for that with this reason. Cause
// is the error behind the end, nil if none. A failure to write is only logged.
func (s *Supervisor) writePostMortemIfWanted(callsign string, why shell.Reason, cause error, evidence func() shell.Evidence) {
	p := &s.postMortems
	if p.Dir == "" || !slices.Contains(p.Reasons, string(why)) {
		return
	}
	e := evidence()
	now := time.Now().UTC()
	r := postMortemReport{Callsign: callsign, Reason: why, Exit: e.Exit, PID: e.PID, Begun: e.Begun.UTC(), At: now, Core: e.Core, Memory: cgroupMemoryFigures(e)}
	if cause != nil {
		r.Error = cause.Error()
	}
	if !e.Begun.IsZero() {
		r.Uptime = now.Sub(e.Begun).Seconds()
	}
	if sh, ok := s.Shell(callsign); ok {
		about := sh.EffectiveInformation()
		r.Class, r.Version = about.Class, about.Version
	}
	dir, werr := p.writeFolderAndRemoveOldest(r, e)
	if werr != nil {
		s.log.Error().Err(werr).Str("callsign", callsign).Msg("could not document the end of the plugin")
		return
	}
	s.log.Info().Str("callsign", callsign).Str("folder", dir).Msg("documented the end of the plugin")
}

// writeFolderAndRemoveOldest makes a folder under a draft name, renames it when it is
// complete, and removes the oldest folders. Dir is the path of the new folder.
func (p *postMortems) writeFolderAndRemoveOldest(r postMortemReport, e shell.Evidence) (dir string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return "", err
	}
	draft, err := os.MkdirTemp(p.Dir, draftName)
	if err != nil {
		return "", err
	}
	defer func() { _ = ownedtree.Remove(draft) }() // does nothing once it is renamed
	for name, text := range e.Files {
		if name != filepath.Base(name) || !filepath.IsLocal(name) {
			return "", fmt.Errorf("evidence named %q", name)
		}
		if err := os.WriteFile(filepath.Join(draft, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	if e.Core != "" {
		_ = os.Link(e.Core, filepath.Join(draft, coreName)) // it may lie on another file system; the report names it
	}
	log := strings.Join(append(e.Log, ""), "\n")
	if err := os.WriteFile(filepath.Join(draft, logName), []byte(log), 0o600); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	if err := atomicfile.Write(filepath.Join(draft, reportName), append(text, '\n'), 0o600); err != nil {
		return "", err
	}
	name := r.Callsign + "-" + r.At.Format("20060102T150405.000Z") + "-" + strings.ReplaceAll(string(r.Reason), " ", "-")
	dir = filepath.Join(p.Dir, name)
	if err := os.Rename(draft, dir); err != nil {
		return "", err
	}
	return dir, errors.Join(atomicfile.SyncDir(p.Dir), p.removeOldestFoldersAndDrafts())
}

// removeOldestFoldersAndDrafts removes the folders beyond Keep, and the drafts of hosts
// that were killed.
func (p *postMortems) removeOldestFoldersAndDrafts() error {
	entries, err := os.ReadDir(p.Dir)
	if err != nil {
		return err
	}
	var whole []fs.FileInfo
	for _, entry := range entries {
		info, ierr := entry.Info()
		switch {
		case ierr != nil:
			err = errors.Join(err, ierr)
		case strings.HasPrefix(entry.Name(), draftName):
			err = errors.Join(err, ownedtree.Remove(filepath.Join(p.Dir, entry.Name())))
		case entry.IsDir():
			whole = append(whole, info)
		}
	}
	slices.SortStableFunc(whole, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for len(whole) > p.Keep {
		err = errors.Join(err, ownedtree.Remove(filepath.Join(p.Dir, whole[0].Name())))
		whole = whole[1:]
	}
	return err
}

// cgroupMemoryFigures returns the numbers in the cgroup's memory files, in bytes, by the
// file name without "memory.". It leaves out files that hold anything but one number.
func cgroupMemoryFigures(e shell.Evidence) map[string]int64 {
	numbers := make(map[string]int64)
	for name, text := range e.Files {
		if kind, ok := strings.CutPrefix(name, "memory."); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
				numbers[kind] = n
			}
		}
	}
	return numbers
}
