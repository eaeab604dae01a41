package obstacles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// findings are the obstacles found so far, by the table of kinds. Equal obstacles of one
// process are one finding.
type findings struct {
	table      kinds.Table
	tryUnknown bool // an object of a kind that the table lacks is no obstacle
	all        []*finding
}

// finding is one obstacle of one process, in the words of the error.
type finding struct {
	pid          int
	what, advice string
	fds          []string // its descriptors, none for an obstacle of the whole process
	passing      bool     // it may be gone a moment later
}

// lookAtDescriptor adds a finding if the table refuses descriptors of the kind. The detail
// follows the name of the kind in the error.
func (all *findings) lookAtDescriptor(d procfs.Descriptor, kind kinds.Kind, detail string) {
	f := all.judge(d.PID, kind, detail, string(kind)+detail, "close it in BeforeCheckpoint")
	if f == nil {
		return
	}
	fd := strconv.Itoa(d.FD)
	for _, known := range all.all {
		if known.pid == f.pid && known.what == f.what && known.fds != nil {
			known.fds = append(known.fds, fd)
			return
		}
	}
	f.fds = []string{fd}
	all.all = append(all.all, f)
}

// lookAtProcess adds a finding if the table refuses processes with that kind of attribute
// or mapping. The detail follows the name of the kind in the error.
func (all *findings) lookAtProcess(pid int, kind kinds.Kind, detail string) {
	f := all.judge(pid, kind, detail, "has "+string(kind)+detail, "the program must do without")
	if f != nil && !slices.ContainsFunc(all.all, func(known *finding) bool { return known.pid == pid && known.what == f.what }) {
		all.all = append(all.all, f)
	}
}

// judge returns a finding if the table refuses objects of the kind, or lacks the kind;
// otherwise nil. For a kind that the table lacks, unknown names the object, and instead
// says what to do.
func (all *findings) judge(pid int, kind kinds.Kind, detail, unknown, instead string) *finding {
	switch row, isKnown := all.table.Find(kind); {
	case !isKnown && all.tryUnknown:
		return nil
	case !isKnown:
		return &finding{pid: pid, what: unknown, advice: fmt.Sprintf(unknownAdvice, instead)}
	case row.Fate == kinds.Refused:
		return &finding{pid: pid, what: row.Name + detail, advice: row.Advice, passing: row.Passing}
	}
	return nil
}

// unknownAdvice says what to do about an object of a kind that the table lacks.
const unknownAdvice = `what a sleep would do to it was never tried: %s, or set unknown = "try" in [hibernate]`

// asError returns one ErrObstacle that names all findings, or an ErrPassing if all of them
// are passing; nil if there are none.
func (all *findings) asError() error {
	if len(all.all) == 0 {
		return nil
	}
	texts := make([]string, len(all.all))
	for i, f := range all.all {
		what := f.what
		if len(f.fds) > 0 {
			what = fmt.Sprintf("has %s open as descriptor %s", f.what, strings.Join(f.fds, ", "))
		}
		texts[i] = fmt.Sprintf("process %d (%s) %s: %s", f.pid, procfs.ProcessName(f.pid), what, f.advice)
	}
	kind := hibernate.ErrPassing
	if slices.ContainsFunc(all.all, func(f *finding) bool { return !f.passing }) {
		kind = hibernate.ErrObstacle
	}
	return fmt.Errorf("%w: %s", kind, strings.Join(texts, "; "))
}
