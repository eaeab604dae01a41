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

// goldenState is what a backend knows of its golden image beside the files. The backend's
// mu guards missingWhy and startedFrom; only operations use the other fields.
type goldenState struct {
	missingWhy  error              // why there is no image
	startedFrom *shell.GoldenImage // the present life began from it, nil after a cold start
	unused      bool               // this backend made the image, and no life has begun from it
	// programFiles is the checksum of the program's files before they were executed.
	programFiles string
	// failure is why an image of a plugin with the key failedKey can't be made.
	failure   error
	failedKey warmKey
}

// StartWarm restores the golden image, see shell.Process.
func (b *Backend) StartWarm(ctx context.Context) (shell.Information, error) {
	b.takeStartConfig()
	image, n, err := b.readGoldenOrRemoveUnfit()
	if errors.Is(err, hibernate.ErrNoImage) {
		_, err = b.GoldenImage() // its error says why there is no image
	}
	if err == nil {
		err = b.host.Engine.Check(ctx)
	}
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrCold, err)
	}
	failpoint.Hit("warm.begun")
	if err := b.restoreGoldenAndConnect(ctx, image, n); err != nil {
		b.dontRetryUnlessTransient(fmt.Errorf("nothing could begin from its golden image: %w", err), *n.WarmKey)
		return shell.Information{}, errors.Join(fmt.Errorf("cannot begin from the golden image: %w", err), b.killAndStop(ctx))
	}
	b.mu.Lock()
	b.golden.startedFrom, b.golden.unused = describeGolden(image), false
	b.mu.Unlock()
	return b.information(), nil
}

// readGoldenOrRemoveUnfit returns the golden image with its note. If a plugin that
// starts now could not use the image, it removes the image and returns an error.
func (b *Backend) readGoldenOrRemoveUnfit() (image *hibernate.Image, note imageNote, err error) {
	image, note, err = b.readGoldenOrRemoveRefused()
	if err != nil {
		return nil, note, err
	}
	now, err := b.computeWarmKey()
	if err == nil {
		err = note.WarmKey.checkUnchanged(now)
	}
	if err == nil {
		err = image.CheckFitsHost(b.host.Engine)
	}
	if err == nil {
		return image, note, nil
	}
	if b.golden.unused && errors.Is(err, errPersistentChanged) {
		b.dontRetryUnlessTransient(errors.New("its persistent directory changes in each of its lives"), now)
	}
	b.InvalidateGolden(err)
	return nil, note, err
}

// readGoldenOrRemoveRefused returns the golden image with its note, whether or not the
// image fits. It removes an image that can't be trusted. The error wraps
// hibernate.ErrNoImage if there is none.
func (b *Backend) readGoldenOrRemoveRefused() (image *hibernate.Image, note imageNote, err error) {
	if image, err = b.imageDir.Golden(); err == nil {
		note, err = decodeImageNote(image)
	}
	if err == nil && note.WarmKey == nil {
		err = fmt.Errorf("%w: it does not say what it was made from", hibernate.ErrRefused)
	}
	if err == nil {
		err = b.checkPlaces(note)
	}
	if err != nil && !errors.Is(err, hibernate.ErrNoImage) {
		b.InvalidateGolden(err)
	}
	return image, note, err
}

// restoreGoldenAndConnect restores the tree as it was when Initialize had returned, in new
// directories, and connects to the plugin. After an error a tree may run.
func (b *Backend) restoreGoldenAndConnect(ctx context.Context, image *hibernate.Image, note imageNote) error {
	if err := b.clearRunDirAndMakeDirs(); err != nil {
		return err
	}
	t, err := b.restoreTree(ctx, image, note, phaseStarting)
	if err != nil {
		return err
	}
	failpoint.Hit("warm.restored")
	b.lastEvent.Store(0)
	request := afterRestoreRequest(image)
	request.Warm = true
	err = b.reconnectAndFollowReports(ctx, t, request)
	failpoint.Hit("warm.connected")
	return err
}

// InvalidateGolden removes the golden image, if there is one, see shell.Process.
// GoldenImage then returns why.
func (b *Backend) InvalidateGolden(why error) {
	_, there := b.imageDir.Golden()
	b.mu.Lock()
	b.golden.missingWhy, b.golden.unused = why, false
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

// StartedFrom returns the golden image that the running plugin began from, see
// shell.Process.
func (b *Backend) StartedFrom() *shell.GoldenImage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.golden.startedFrom
}

// GoldenImage returns the golden image, or nil and why there is none, see shell.Process.
func (b *Backend) GoldenImage() (image *shell.GoldenImage, whyNone error) {
	golden, whyNone := b.imageDir.Golden()
	b.mu.Lock()
	defer b.mu.Unlock()
	if errors.Is(whyNone, hibernate.ErrNoImage) && b.golden.missingWhy != nil {
		whyNone = b.golden.missingWhy
	}
	return describeGolden(golden), whyNone
}

// describeGolden returns the shell's description of a golden image, nil for none.
func describeGolden(i *hibernate.Image) *shell.GoldenImage {
	if i == nil {
		return nil
	}
	return &shell.GoldenImage{Engine: i.Engine, Bytes: i.StoredBytes(), Created: i.Created, Generation: i.Generation}
}

// RemoveStaleGolden removes a golden image that the configuration does not ask for, or
// that was made with another one, see shell.Process. The memory in it may hold secrets
// of the plugin, so it must not stay on disk until the next start.
func (b *Backend) RemoveStaleGolden() {
	b.takeStartConfig()
	if !b.startConfig.WarmStart {
		if err := b.imageDir.DiscardGolden(); err != nil {
			b.log.Error().Err(err).Msg("could not remove the golden image")
		}
		return
	}
	_, n, err := b.readGoldenOrRemoveRefused()
	if err != nil {
		return
	}
	now, err := b.startConditionsChecksum()
	if err != nil || now != n.WarmKey.Started {
		b.InvalidateGolden(n.WarmKey.checkUnchanged(warmKey{Started: now}))
	}
}

// MakeGolden makes a golden image of the plugin, which has just been initialized, see
// shell.Process.
func (b *Backend) MakeGolden(ctx context.Context) error {
	tree := &initializedTree{checkpointTree: checkpointTree{b, b.currentLife().tree, phaseStarting, phaseStarting}}
	key, err := b.checkAndRemoveOldGolden()
	if err == nil {
		_, err = hibernate.MakeGolden(ctx, b.host.Engine, b.imageDir, tree)
	}
	if !tree.quiesced { // otherwise Revive follows the reports
		b.startFollowingReports(ctx)
	}
	b.mu.Lock()
	b.golden.missingWhy, b.golden.unused = err, err == nil
	b.mu.Unlock()
	if err != nil {
		b.dontRetryUnlessTransient(err, key)
	}
	return err
}

// SkipGolden begins to pass the plugin's events on, see shell.Process.
func (b *Backend) SkipGolden(ctx context.Context) { b.startFollowingReports(ctx) }

// recordColdStart records that the plugin does not begin from a golden image, and the
// checksum of the program that is about to be executed. It does nothing unless the plugin
// is started warm.
func (b *Backend) recordColdStart(program string) {
	if !b.startConfig.WarmStart {
		return
	}
	files, _ := b.programMetadataChecksum(program) // "" after an error, the checksum of no program
	b.mu.Lock()
	b.golden.programFiles, b.golden.startedFrom = files, nil
	b.mu.Unlock()
}

// checkAndRemoveOldGolden removes an earlier golden image and returns the key of the
// plugin. It returns an error, before the plugin is disturbed, if it can't compute the
// key, or if making an image for that key has failed before.
func (b *Backend) checkAndRemoveOldGolden() (key warmKey, err error) {
	key, err = b.computeWarmKey()
	if err != nil {
		return key, err
	}
	failed := b.golden.failedKey
	failed.Persistent = key.Persistent // it changes in each life
	if b.golden.failure != nil && failed == key {
		return key, b.golden.failure
	}
	return key, b.imageDir.DiscardGolden()
}

// dontRetryUnlessTransient keeps the backend from making another golden image until the
// plugin's key changes, unless err is transient.
func (b *Backend) dontRetryUnlessTransient(err error, key warmKey) {
	if !isTransientGoldenError(err) {
		b.golden.failure, b.golden.failedKey = errors.New(err.Error()), key // its sentinels don't hold for later attempts
	}
}

// isTransientGoldenError reports whether the cause of err may be gone at the next
// attempt although nothing of the plugin has changed.
func isTransientGoldenError(err error) bool {
	causes := []error{hibernate.ErrSpace, hibernate.ErrBudget, hibernate.ErrRefused, context.DeadlineExceeded, context.Canceled}
	return slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) })
}

// initializedTree is the tree right after Initialize, as the checkpoint of its golden
// image sees it. If the host is killed meanwhile, the journal says that the plugin was
// being started.
type initializedTree struct {
	checkpointTree
	quiesced bool // hibernate calls Revive
}

// Quiesce quiesces the plugin and records that it was called.
func (i *initializedTree) Quiesce(ctx context.Context) error {
	i.quiesced = true
	return i.checkpointTree.Quiesce(ctx)
}

// OwnerRecord returns the imageNote with the plugin's warm key. The plugin is quiet by now,
// so the checksums of its directories are final. It returns an error if the program was
// replaced since it was executed, or the volatile directory has files.
func (i *initializedTree) OwnerRecord() (any, error) {
	n, err := i.imageNote()
	if err != nil {
		return nil, err
	}
	if err := i.b.checkVolatileDirEmpty(); err != nil {
		return nil, err
	}
	key, err := i.b.computeWarmKey()
	if err == nil && key.Program != i.b.golden.programFiles {
		err = errors.New("its program was replaced while it started")
	}
	n.WarmKey = &key
	return n, err
}

// checkVolatileDirEmpty returns an error if the plugin has files other than sockets in its
// volatile directory, since the directory is empty when a plugin starts from the golden
// image.
func (b *Backend) checkVolatileDirEmpty() error {
	files, err := os.ReadDir(b.volatileDir())
	if err != nil {
		return err
	}
	for _, file := range files {
		if file.Type()&os.ModeSocket == 0 { // CRIU makes sockets anew
			return fmt.Errorf("it has %s in its volatile directory, which is empty when a life begins", file.Name())
		}
	}
	return nil
}
