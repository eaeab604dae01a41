package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"dormouse/hibernate"
	"dormouse/internal/failpoint"
	"dormouse/shell"
)

// golden is what a backend knows of its golden image beside what lies on the disk.
// Its fields are guarded by the backend's mu.
type golden struct {
	why     error            // there is none
	from    *hibernate.Image // where the present life began, nil for a cold start
	unused  bool             // it was made by this backend, and nothing has begun from it
	program string           // footprint of the program before it was started
	vain    error            // it is of no use to make one from what vainly says
	vainly  origin
}

// StartWarm restores the golden image, see shell.Process.
func (b *Backend) StartWarm(ctx context.Context) (shell.Information, error) {
	b.given = b.config()
	image, r, err := b.fittingGolden()
	if errors.Is(err, hibernate.ErrNoImage) {
		_, err = b.Golden() // which may know why
	}
	if err == nil {
		err = b.host.Engine.Check(ctx)
	}
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrCold, err)
	}
	failpoint.Hit("warm.begun")
	if err := b.beginFrom(ctx, image, r); err != nil {
		b.mu.Lock()
		b.golden.inVain(fmt.Errorf("nothing could begin from its golden image: %w", err), *r.Origin)
		b.mu.Unlock()
		return shell.Information{}, errors.Join(fmt.Errorf("cannot begin from the golden image: %w", err), b.abandon(ctx))
	}
	b.mu.Lock()
	b.golden.from, b.golden.unused = image, false
	b.mu.Unlock()
	return b.information(), nil
}

// fittingGolden returns the golden image if a life that begins now could begin
// from it. One that does not fit is removed.
func (b *Backend) fittingGolden() (*hibernate.Image, record, error) {
	image, r, err := b.readGolden()
	if err != nil {
		return nil, r, err
	}
	now, err := b.origin()
	if err == nil {
		err = r.Origin.differs(now)
	}
	if err == nil {
		err = image.CheckFits(b.host.Engine)
	}
	if err == nil {
		return image, r, nil
	}
	b.mu.Lock()
	if b.golden.unused && errors.Is(err, errStale) {
		b.golden.inVain(errors.New("its persistent directory changes in each of its lives"), now)
	}
	b.mu.Unlock()
	b.InvalidateGolden(err)
	return nil, r, err
}

// readGolden returns the golden image and what was put beside it.
func (b *Backend) readGolden() (image *hibernate.Image, r record, err error) {
	if image, err = b.imageDir.Golden(); err == nil {
		r, err = recordOf(image)
	}
	if err == nil && r.Origin == nil {
		err = fmt.Errorf("%w: it does not say what it was made from", hibernate.ErrRefused)
	}
	if err != nil && !errors.Is(err, hibernate.ErrNoImage) {
		b.InvalidateGolden(err)
	}
	return image, r, err
}

// beginFrom restores the tree where Initialize had returned.
func (b *Backend) beginFrom(ctx context.Context, image *hibernate.Image, r record) error {
	if err := b.makeDirs(); err != nil {
		return err
	}
	t, err := b.restore(ctx, image, r, starting)
	if err != nil {
		return err
	}
	failpoint.Hit("warm.restored")
	b.seen.Store(0)
	told := wokenFrom(image)
	told.Warm = true
	err = b.reconnect(ctx, t, r.Socket, told)
	failpoint.Hit("warm.connected")
	return err
}

// abandon ends at once what has come of an attempt.
func (b *Backend) abandon(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t != nil && !t.ended() {
		t.expectEnd()
		t.kill()
	}
	return b.Stop(ctx)
}

// InvalidateGolden removes the golden image, see shell.Process.
func (b *Backend) InvalidateGolden(why error) {
	_, there := b.imageDir.Golden()
	b.mu.Lock()
	b.golden.why, b.golden.unused = why, false
	b.mu.Unlock()
	if errors.Is(there, hibernate.ErrNoImage) {
		return
	}
	if err := b.imageDir.DiscardGolden(); err != nil {
		b.log.Error().Err(err).Msg("could not remove the golden image")
		return
	}
	b.log.Info().AnErr("because", why).Msg("removed the golden image")
}

// StartedFrom is where the running plugin began, see shell.Process.
func (b *Backend) StartedFrom() *shell.GoldenImage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return describeGolden(b.golden.from)
}

// Golden is the golden image, see shell.Process.
func (b *Backend) Golden() (*shell.GoldenImage, error) {
	image, err := b.imageDir.Golden()
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(err, hibernate.ErrNoImage) && b.golden.why != nil {
		err = b.golden.why
	}
	return describeGolden(image), err
}

// describeGolden returns the shell's description of a golden image, nil for none.
func describeGolden(i *hibernate.Image) *shell.GoldenImage {
	if i == nil {
		return nil
	}
	return &shell.GoldenImage{Engine: i.Engine, Bytes: i.Bytes, Created: i.Created, Generation: i.Generation}
}

// RemoveStaleGolden removes a golden image that the configuration does not ask for, or
// that was made with another one, see shell.Process. The memory in it may hold secrets
// of the plugin, so it must not stay on disk until the next start.
func (b *Backend) RemoveStaleGolden() {
	b.given = b.config()
	if !b.given.WarmStart {
		if err := b.imageDir.DiscardGolden(); err != nil {
			b.log.Error().Err(err).Msg("could not remove the golden image")
		}
		return
	}
	_, r, err := b.readGolden()
	if err != nil {
		return
	}
	now, err := b.started()
	if err != nil || now != r.Origin.Started {
		b.InvalidateGolden(r.Origin.differs(origin{Started: now}))
	}
}

// MakeGolden makes the golden image, see shell.Process.
func (b *Backend) MakeGolden(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	tree := &newborn{sleeper: sleeper{b, t, starting, starting}}
	from, err := b.preservable()
	if err == nil {
		_, err = hibernate.MakeGolden(ctx, b.host.Engine, b.imageDir, tree)
	}
	if !tree.quiesced { // otherwise Revive follows the plugin
		b.follow()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.golden.why, b.golden.unused = err, err == nil
	if err != nil {
		b.golden.inVain(err, from)
	}
	return err
}

// SkipGolden begins to pass events on, see shell.Process.
func (b *Backend) SkipGolden() { b.follow() }

// noteProgram looks at the program that is about to be started.
func (b *Backend) noteProgram(program string) {
	if !b.given.WarmStart {
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
func (b *Backend) preservable() (origin, error) {
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
	return now, b.imageDir.DiscardGolden()
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
type newborn struct {
	sleeper
	quiesced bool
}

// Quiesce notes that Revive will be called.
func (n *newborn) Quiesce(ctx context.Context) error {
	n.quiesced = true
	return n.sleeper.Quiesce(ctx)
}

// Record says what a later life has to be compared with, too: as it is now that the
// plugin writes no more, save for the program, which it has read before.
func (n *newborn) Record() (any, error) {
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
