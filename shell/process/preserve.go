package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"dormouse/hibernate"
)

// Preserve makes the golden image, see shell.Warmer.
func (b *Backend) Preserve(ctx context.Context, wanted bool) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if !wanted {
		b.follow()
		return nil
	}
	from, err := b.preservable(ctx)
	if err != nil {
		b.follow()
	} else {
		_, err = hibernate.Preserve(ctx, b.host.Engine, b.slot, newborn{sleeper{b, t, starting, starting}})
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.golden.why, b.golden.unused = err, err == nil
	if err != nil {
		b.golden.inVain(err, from)
	}
	return err
}

// noteProgram looks at the program that is about to be started.
func (b *Backend) noteProgram(program string) {
	if !b.config.WarmStart {
		return
	}
	looks, err := b.programFiles(program)
	if err != nil {
		looks = "" // which no program looks like
	}
	b.mu.Lock()
	b.golden.program, b.golden.from = looks, nil
	b.mu.Unlock()
}

// preservable says what a golden image of the plugin is made from. What is certain
// to fail, or to be of no use, is refused before the plugin is disturbed.
func (b *Backend) preservable(ctx context.Context) (origin, error) {
	now, err := b.origin()
	if err != nil {
		return now, err
	}
	b.mu.Lock()
	vain, vainly := b.golden.vain, b.golden.vainly
	b.mu.Unlock()
	if vain != nil && vainly.Started == now.Started && vainly.Program == now.Program && vainly.Data == now.Data {
		return now, vain
	}
	if err := b.host.Engine.Check(ctx); err != nil {
		return now, err
	}
	return now, b.slot.DropGolden()
}

// inVain notes what is not to be tried again before something of the plugin has
// changed.
func (g *golden) inVain(err error, from origin) {
	if !passing(err) {
		g.vain, g.vainly = errors.New(err.Error()), from // another time it means nothing else
	}
}

// passing tells whether err may be gone the next time, without anything of the
// plugin having changed.
func passing(err error) bool {
	causes := []error{hibernate.ErrSpace, hibernate.ErrBudget, hibernate.ErrRefused, context.DeadlineExceeded, context.Canceled}
	return slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) })
}

// newborn is the tree right after Initialize, as the making of its golden image sees
// it. A host that is killed meanwhile leaves a plugin that was being started.
type newborn struct{ sleeper }

// Record says what a later life has to be compared with, too: as it is now that the
// plugin writes no more, save for the program, which it has read before.
func (n newborn) Record() (any, error) {
	r, err := n.record()
	if err != nil {
		return nil, err
	}
	if err := n.b.tidy(); err != nil {
		return nil, err
	}
	from, err := n.b.origin()
	n.b.mu.Lock()
	defer n.b.mu.Unlock()
	if err == nil && from.Program != n.b.golden.program {
		err = errors.New("its program was replaced while it started")
	}
	r.Origin = &from
	return r, err
}

// tidy returns an error when the plugin has files that would not be there when
// another life begins.
func (b *Backend) tidy() error {
	left, err := os.ReadDir(b.volatileDir())
	if err != nil {
		return err
	}
	for _, file := range left {
		if file.Type()&os.ModeSocket == 0 { // which comes back by itself
			return fmt.Errorf("it has %s in its volatile directory, which is empty when a life begins", file.Name())
		}
	}
	return nil
}
