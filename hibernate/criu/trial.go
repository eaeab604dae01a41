package criu

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/fileid"
)

// program is the CRIU executable, as it was found at one moment.
type program struct {
	path    string // "" if there is none
	version string
	file    fileid.ID
	err     error // why it can't be run, nil if it can; wraps hibernate.ErrUnsupported
}

// findProgram returns the CRIU at path, or for "" the one that is installed.
func findProgram(path string) *program {
	p := &program{path: path}
	if p.path == "" {
		p.path = findInstalledCRIU()
	}
	if p.path == "" {
		p.err = fmt.Errorf("%w: CRIU is not installed: run make setup, or set [hibernate] criu to its path", hibernate.ErrUnsupported)
		return p
	}
	if found, err := exec.LookPath(p.path); err == nil { // otherwise askCRIUVersion says what is wrong
		p.path = found
	}
	p.file, _ = fileid.Of(p.path)
	var err error
	if p.version, err = askCRIUVersion(p.path); err != nil {
		p.err = fmt.Errorf("%w: cannot run %s: %w", hibernate.ErrUnsupported, p.path, err)
		return p
	}
	if os.Geteuid() != 0 {
		p.err = fmt.Errorf("%w: it needs root", hibernate.ErrUnsupported)
	}
	return p
}

// isUnchanged reports whether the executable can be run and is still the same file.
func (p *program) isUnchanged() bool {
	now, err := fileid.Of(p.path)
	return p.err == nil && err == nil && now == p.file
}

// trial is the answer of the last trial of CRIU. A trial can fail because something was short
// at that moment.
type trial struct {
	done     bool
	err      error
	at       time.Time
	failures int // in a row
}

// How soon a trial that failed is repeated: after firstTrialRetry, then after twice as long
// each time, up to maxTrialRetry.
const (
	firstTrialRetry = time.Second
	maxTrialRetry   = time.Minute
)

// record sets the answer.
func (t *trial) record(err error) {
	t.done, t.err, t.at = true, err, time.Now()
	t.failures++
	if err == nil {
		t.failures = 0
	}
}

// holdsFor reports whether the answer is still good for the program.
func (t *trial) holdsFor(p *program) bool {
	switch {
	case !t.done:
		return false
	case t.err == nil:
		return p.isUnchanged()
	case os.Geteuid() != 0:
		return true // it will never be root
	}
	return time.Since(t.at) < min(firstTrialRetry<<min(t.failures-1, 10), maxTrialRetry)
}
