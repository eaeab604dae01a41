package supervisor

import (
	"cmp"
	"slices"
	"sync"

	"dormouse/shell"
)

// ranks groups instances by their startup order, lowest first.
func ranks(shells []*shell.Shell) [][]*shell.Shell {
	slices.SortStableFunc(shells, func(a, b *shell.Shell) int {
		return cmp.Compare(a.Config().StartupOrder, b.Config().StartupOrder)
	})
	var ranks [][]*shell.Shell
	for i, s := range shells {
		if i == 0 || s.Config().StartupOrder != shells[i-1].Config().StartupOrder {
			ranks = append(ranks, nil)
		}
		ranks[len(ranks)-1] = append(ranks[len(ranks)-1], s)
	}
	return ranks
}

// inParallel runs work for each instance and returns when all are done.
func inParallel(shells []*shell.Shell, work func(*shell.Shell)) {
	var all sync.WaitGroup
	for _, s := range shells {
		all.Go(func() { work(s) })
	}
	all.Wait()
}
