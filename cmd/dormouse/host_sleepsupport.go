package main

import (
	"context"
	"errors"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
)

// sleepSupport says in which ways plugins can be hibernated on this machine.
type sleepSupport struct {
	Checkpoint support `json:"checkpoint"` // to an image on disk
	PageOut    support `json:"pageout"`    // in place, to the swap
}

// support says whether one way of sleep works, or why not.
type support struct {
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"`
	err   error
}

// supportFromCheck returns the support of a way of sleep whose check returned checkErr:
// nil means that the way works.
func supportFromCheck(checkErr error) support {
	if checkErr == nil {
		return support{Works: true}
	}
	return support{Why: strings.TrimPrefix(checkErr.Error(), hibernate.ErrUnsupported.Error()+": "), err: checkErr}
}

// errNoCgroups is the reason why page-out does not work without cgroups.
var errNoCgroups = errors.New("plugins have no cgroups of their own to be frozen in")

// trySleepSupport tries every way of sleep: a checkpoint and restore by the engine, and
// page-out, which works only if plugins have cgroups.
func trySleepSupport(ctx context.Context, engine hibernate.Engine, hasCgroups bool) sleepSupport {
	paging := (pageout.Engine{}).Check(ctx)
	if !hasCgroups {
		paging = errNoCgroups
	}
	return sleepSupport{Checkpoint: supportFromCheck(engine.Check(ctx)), PageOut: supportFromCheck(paging)}
}

// canHibernate reports whether plugins can be hibernated in some way.
func (a sleepSupport) canHibernate() bool { return a.Checkpoint.Works || a.PageOut.Works }

// summaryLine returns one line for the banner, which says where plugins can sleep, and
// names the command doctorCommand if they can't sleep on disk.
func (a sleepSupport) summaryLine(engineName, doctorCommand string) string {
	switch {
	case a.Checkpoint.Works && a.PageOut.Works:
		return "plugins sleep on disk, by " + engineName + ", or in the swap"
	case a.Checkpoint.Works:
		return "plugins sleep on disk, by " + engineName
	case a.PageOut.Works:
		return "plugins sleep in the swap, but not on disk, see `" + doctorCommand + "`"
	}
	return "hibernation is not available, see `" + doctorCommand + "`"
}

// doctorVerdictLines returns the lines with which `dormouse doctor` ends: whether plugins
// can sleep on disk and in the swap, and why not.
func (a sleepSupport) doctorVerdictLines() string {
	say := func(way string, can support) string {
		if can.Works {
			return way + ": yes.\n"
		}
		return way + ": no, " + joinLinesBySemicolon(can.Why) + ".\n"
	}
	text := say("Plugins can sleep on disk", a.Checkpoint) + say("Plugins can sleep in the swap", a.PageOut)
	if !a.canHibernate() {
		text += "Hibernation does not work on this machine; everything else does.\n"
	}
	return text
}
