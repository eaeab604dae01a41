package supervisor

import (
	"cmp"
	"slices"
	"sync"

	"dormouse/shell"
)

// position says when an instance starts: a lower order first, and within one order a
// lower depth first.
type position struct {
	order int // startup-order
	depth int // of the instances that it requires
}

// compare returns a negative number if p starts before q, 0 if both start together.
func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.order, q.order), cmp.Compare(p.depth, q.depth))
}

// startPosition returns the position without the instances that sh requires, because a
// starting instance waits for those by itself.
func startPosition(sh *shell.Shell) position { return position{order: sh.Config().StartupOrder} }

// positionsAfterRequired returns a function whose positions put each of the instances
// behind all of them that it requires.
func positionsAfterRequired(shells []*shell.Shell) func(*shell.Shell) position {
	byCallsign := make(map[string]*shell.Shell, len(shells))
	for _, sh := range shells {
		byCallsign[sh.Callsign()] = sh
	}
	known := make(map[*shell.Shell]position, len(shells))
	var find func(sh *shell.Shell) position
	find = func(sh *shell.Shell) position {
		if p, ok := known[sh]; ok {
			return p
		}
		p := startPosition(sh)
		known[sh] = p // a circle of requirements would end here
		for _, callsign := range sh.Config().Requires {
			if required, ok := byCallsign[callsign]; ok {
				behind := find(required)
				behind.depth++
				if behind.compare(p) > 0 {
					p = behind
				}
			}
		}
		known[sh] = p
		return p
	}
	return find
}

// sortAndGroupByPosition sorts shells by their positions, and returns those of each
// position as one group.
func sortAndGroupByPosition(shells []*shell.Shell, positionOf func(*shell.Shell) position) [][]*shell.Shell {
	slices.SortStableFunc(shells, func(a, b *shell.Shell) int { return positionOf(a).compare(positionOf(b)) })
	var ranks [][]*shell.Shell
	for i, s := range shells {
		if i == 0 || positionOf(s) != positionOf(shells[i-1]) {
			ranks = append(ranks, nil)
		}
		ranks[len(ranks)-1] = append(ranks[len(ranks)-1], s)
	}
	return ranks
}

// doInParallelAndWait runs work for all instances at once and returns when all are done.
func doInParallelAndWait(shells []*shell.Shell, work func(*shell.Shell)) {
	var all sync.WaitGroup
	for _, s := range shells {
		all.Go(func() { work(s) })
	}
	all.Wait()
}
