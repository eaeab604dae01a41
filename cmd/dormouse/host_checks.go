package main

import (
	"context"
	"errors"
	"strings"

	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
)

// abilities are the ways in which plugins can be hibernated here.
type abilities struct {
	Checkpoint ability `json:"checkpoint"` // to an image on disk
	PageOut    ability `json:"pageout"`    // in place, to the swap
}

// ability is a way, or the reason why there is none.
type ability struct {
	Works bool   `json:"works"`
	Why   string `json:"why,omitempty"`
	err   error
}

func newAbility(err error) ability {
	if err == nil {
		return ability{Works: true}
	}
	return ability{Why: strings.TrimPrefix(err.Error(), hibernate.ErrUnsupported.Error()+": "), err: err}
}

var errNoCgroups = errors.New("plugins have no cgroups of their own to be frozen in")

// findAbilities tries everything. The engine is that of checkpoints; freezes tells
// whether plugins get cgroups.
func findAbilities(ctx context.Context, engine hibernate.Engine, freezes bool) abilities {
	paging := (pageout.Engine{}).Check(ctx)
	if !freezes {
		paging = errNoCgroups
	}
	return abilities{Checkpoint: newAbility(engine.Check(ctx)), PageOut: newAbility(paging)}
}

// any tells whether plugins can be hibernated at all.
func (a abilities) any() bool { return a.Checkpoint.Works || a.PageOut.Works }

// brief says it in one line, for who has not asked.
func (a abilities) brief(engine, doctor string) string {
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
func (a abilities) text() string {
	say := func(way string, can ability) string {
		if can.Works {
			return way + ": yes.\n"
		}
		return way + ": no, " + oneLine(can.Why) + ".\n"
	}
	text := say("Plugins can sleep on disk", a.Checkpoint) + say("Plugins can sleep in the swap", a.PageOut)
	if !a.any() {
		text += "Hibernation does not work on this machine; everything else does.\n"
	}
	return text
}
