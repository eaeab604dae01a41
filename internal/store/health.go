package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// maxProblems is how many problems a check names.
const maxProblems = 20

// Health is what is known of the state of the file.
type Health struct {
	// Damage is what was found damaged since Open, empty for nothing. The next Open copies what
	// can be read of such a file into a new one.
	Damage string
	// Mend is what the operator can do about Damage.
	Mend string
	// Checked is when the check beside the work found all of the file in order; zero before.
	Checked time.Time
	Rebuilt bool // Open has made a new file, because there was none or because it was damaged
}

// What an operator can do about a file that is damaged, and about one that was taken away.
const (
	mendDamaged = "look at the disk, keep a copy (dormouse store backup FILE), and restart the host: at its next start the host copies what can be read into a new file"
	mendTaken   = "end the host, put a backup there, or nothing to begin with an empty store, and start the host"
)

// Health returns what is known of the state of the file.
func (s *Store) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.health
	h.Rebuilt = s.rebuilt
	return h
}

// watch checks the whole file beside the work, and looks whether what is in its place is still
// inPlace, as the options say, until the store is closed or has another file.
func (s *Store) watch(f *file, inPlace os.FileInfo) {
	defer s.checking.Done()
	check := time.NewTimer(s.options.CheckAfter)
	defer check.Stop()
	var look <-chan time.Time
	if s.options.LookEvery > 0 && inPlace != nil {
		ticker := time.NewTicker(s.options.LookEvery)
		defer ticker.Stop()
		look = ticker.C
	}
	for s.uses(f) {
		select {
		case <-check.C:
			s.checkBeside(f)
			switch {
			case s.options.CheckEvery > 0:
				check.Reset(s.options.CheckEvery)
			case look == nil:
				return
			}
		case <-look:
			s.lookAfter(f, inPlace)
		case <-s.life.Done():
			return
		}
	}
}

// uses reports whether f is the file of the store, and the store is open.
func (s *Store) uses(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file == f && !s.closed
}

// lookAfter tells if the file that was opened, inPlace, is not in its place any more: what is
// written then is lost with the end of the process.
func (s *Store) lookAfter(f *file, inPlace os.FileInfo) {
	now, err := os.Stat(f.path)
	var why string
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "it was removed from its place"
	case err == nil && !os.SameFile(now, inPlace):
		why = "another file was put into its place"
	default:
		return
	}
	s.mu.Lock()
	known := s.health.Damage != ""
	if !known {
		s.health.Damage, s.health.Mend = why+", and what the host writes now is lost when it ends", mendTaken
	}
	h := s.health
	s.mu.Unlock()
	if !known {
		s.options.tell(fmt.Sprintf("the store %s is damaged: %s; %s", f.path, h.Damage, h.Mend))
	}
}

// checkBeside checks the whole file once.
func (s *Store) checkBeside(f *file) {
	c, err := connect(f.db, readerSettings)
	if err != nil {
		s.noteDamage(err)
		return
	}
	defer c.close()
	problems, err := c.problems(s.life, fmt.Sprintf("PRAGMA quick_check(%d)", maxProblems))
	switch {
	case s.life.Err() != nil: // a check of a large file takes long
	case err != nil && isFileDamage(err):
		s.noteDamage(err)
	case err != nil:
		s.options.tell(fmt.Sprintf("cannot check the store %s: %v", s.path, err))
	case len(problems) > 0:
		s.noteDamage(fmt.Errorf("%w: %s", errFound, strings.Join(problems, "; ")))
	default:
		s.mu.Lock()
		s.health.Checked = time.Now()
		s.mu.Unlock()
	}
}

// errFound is the error of a check that has found something.
var errFound = errors.New("a check has found damage")

// problems returns what a check of SQLite finds, one line for each.
func (c *connection) problems(ctx context.Context, check string) (found []string, err error) {
	rows, err := c.conn.QueryContext(ctx, check)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		if line != "ok" {
			found = append(found, strings.Split(line, "\n")...)
		}
	}
	return found, rows.Err()
}

// isFileDamage reports whether err says that SQLite has met a page that can't be.
func isFileDamage(err error) bool {
	if errors.Is(err, errFound) {
		return true
	}
	cause, is := errors.AsType[*sqlite.Error](err)
	if !is {
		return false
	}
	kind := cause.Code() & 0xff
	return kind == sqlite3.SQLITE_CORRUPT || kind == sqlite3.SQLITE_NOTADB
}

// noteDamage tells of an error that says that the file is damaged, and has the next Open
// rebuild the file. It does nothing for other errors, and once it has told.
func (s *Store) noteDamage(err error) {
	if err == nil || !isFileDamage(err) {
		return
	}
	s.mu.Lock()
	known := s.health.Damage != ""
	if !known {
		s.health.Damage, s.health.Mend = err.Error(), mendDamaged
	}
	path := s.path
	if s.file != nil {
		path = s.file.path
	}
	s.mu.Unlock()
	if known {
		return
	}
	message := fmt.Sprintf("the store %s is damaged: %v; %s", path, err, mendDamaged)
	if err := (mark{Why: err.Error()}).write(path); err != nil {
		message = fmt.Sprintf("the store %s is damaged: %v; run `dormouse store check`, for the next start can't be told: %v", path, s.Health().Damage, err)
	}
	s.options.tell(message)
}
