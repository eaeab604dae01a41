package main

import (
	"context"
	"errors"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
)

// abilities are the ways in which plugins can be hibernated here.
type sleepSupport struct {
	Checkpoint support `json:"checkpoint"` // to an image on disk
	PageOut    support `json:"pageout"`    // in place, to the swap
}

// ability is a way, or the reason why there is none.
type support struct {
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"`
	err   error
}

func supportUnless(err error) support {
	if err == nil {
		return support{Works: true}
	}
	return support{Why: strings.TrimPrefix(err.Error(), hibernate.ErrUnsupported.Error()+": "), err: err}
}

var errNoCgroups = errors.New("plugins have no cgroups of their own to be frozen in")

// findAbilities tries everything. The engine is that of checkpoints; freezes tells
// whether plugins get cgroups.
func checkSleepSupport(ctx context.Context, engine hibernate.Engine, freezes bool) sleepSupport {
	paging := (pageout.Engine{}).Check(ctx)
	if !freezes {
		paging = errNoCgroups
	}
	return sleepSupport{Checkpoint: supportUnless(engine.Check(ctx)), PageOut: supportUnless(paging)}
}

// any tells whether plugins can be hibernated at all.
func (a sleepSupport) isAny() bool { return a.Checkpoint.Works || a.PageOut.Works }

// brief says it in one line, for who has not asked.
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

// text says it in full.
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
