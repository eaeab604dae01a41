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

// support says whether one way works, or why not.
type support struct {
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"`
	err   error
}

// supportUnless returns support that err prevents; nil means that it works.
func supportUnless(err error) support {
	if err == nil {
		return support{Works: true}
	}
	return support{Why: strings.TrimPrefix(err.Error(), hibernate.ErrUnsupported.Error()+": "), err: err}
}

var errNoCgroups = errors.New("plugins have no cgroups of their own to be frozen in")

// checkSleepSupport tries every way. The engine makes checkpoints; freezes says that
// plugins get cgroups.
func checkSleepSupport(ctx context.Context, engine hibernate.Engine, freezes bool) sleepSupport {
	paging := (pageout.Engine{}).Check(ctx)
	if !freezes {
		paging = errNoCgroups
	}
	return sleepSupport{Checkpoint: supportUnless(engine.Check(ctx)), PageOut: supportUnless(paging)}
}

// isAny reports whether plugins can be hibernated in some way.
func (a sleepSupport) isAny() bool { return a.Checkpoint.Works || a.PageOut.Works }

// summary returns one line for the banner.
func (a sleepSupport) summary(engine, doctor string) string {
	switch {
	case a.Checkpoint.Works && a.PageOut.Works:
		return "plugins sleep on disk, by " + engine + ", or in the swap"
	case a.Checkpoint.Works:
		return "plugins sleep on disk, by " + engine
	case a.PageOut.Works:
		return "plugins sleep in the swap, but not on disk, see `" + doctor + "`"
	}
	return "hibernation is not available, see `" + doctor + "`"
}

// details returns the verdict of `dormouse doctor`.
func (a sleepSupport) details() string {
	say := func(way string, can support) string {
		if can.Works {
			return way + ": yes.\n"
		}
		return way + ": no, " + joinLines(can.Why) + ".\n"
	}
	text := say("Plugins can sleep on disk", a.Checkpoint) + say("Plugins can sleep in the swap", a.PageOut)
	if !a.isAny() {
		text += "Hibernation does not work on this machine; everything else does.\n"
	}
	return text
}
