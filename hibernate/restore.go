package hibernate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"dormouse/hibernate/pack"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/memory"
	"dormouse/internal/procfs"
	"dormouse/internal/reap"
	"dormouse/internal/timelimit"
)

// restoreAttempts is how often the engine tries a restore: an attempt can fail because the
// engine was killed or lost a race, and leaves the image as it was.
const restoreAttempts = 2

// WakeOptions says what a restored tree gets from the host.
type WakeOptions struct {
	Cgroup cgroup.Dir
	// Files replaces what the tree held open outside of itself, as in RestoreOrder. The
	// caller closes the files.
	Files []Inherited
	// Cleanup is called after each attempt that failed, and must end every process
	// in the cgroup.
	Cleanup func() error
	// BeforeUse, if not nil, is called with the root of the restored tree while the tree is
	// stopped and the image not yet used. Its error ends the attempt, and the image stays.
	BeforeUse func(root *os.Process) error
	// LoaderDir is where a later host finds the loading, as in RestoreOrder.
	LoaderDir string
}

// Restore turns the image into a running tree and marks the image's Generation as used, so
// that only a golden image can be restored again. The returned root is a child of this
// process. No process of the tree runs before every byte of the image was verified and every
// thread was found to have the rights that it had. After an error no process of the tree
// runs; ClassifyFailure says whether a further attempt can succeed.
func (i *Image) Restore(ctx context.Context, e Engine, w WakeOptions) (root *os.Process, err error) {
	r := &restoration{image: i, engine: e, wake: w}
	restore := r.restoreEagerly
	if i.manifest.Packing != nil {
		restore = r.restoreLazilyAndWait
	}
	if err := r.restoreAndLetRun(ctx, restore); err != nil {
		return nil, err
	}
	if r.loading != nil {
		r.loading.Close()
	}
	return r.root, nil
}

// RestoreLazy is like Restore, but the tree runs before its memory is read: the Loading
// brings the memory into the running tree, verified chunk by chunk. The caller may discard
// the image meanwhile. If the loading fails the caller must kill the tree. The
// error wraps ErrUnsupported if only Restore is possible.
func (i *Image) RestoreLazy(ctx context.Context, e Engine, w WakeOptions) (root *os.Process, loading Loading, err error) {
	r := &restoration{image: i, engine: e, wake: w}
	if err := r.restoreAndLetRun(ctx, r.restoreLazily); err != nil {
		return nil, nil, err
	}
	return r.root, r.loading, nil
}

// restoration is one attempt to wake an image.
type restoration struct {
	image  *Image
	engine Engine
	wake   WakeOptions

	prestarted Prestarted
	unpacked   *pack.Unpacker // nil if the image is not packed
	root       *os.Process    // nil before the engine has restored it, stopped
	loading    Loading        // nil if all memory is loaded
}

// restoreAndLetRun verifies everything but the memory, gives the locks up that this host holds
// for the tree, calls restoreStopped for the stopped tree, and lets the tree run. After an
// error it has killed the tree and holds the locks again.
func (r *restoration) restoreAndLetRun(ctx context.Context, restoreStopped func(context.Context) error) (err error) {
	if err := r.engine.Check(ctx); err != nil {
		return err
	}
	r.prestarted = r.engine.Prestart(r.wake.Cgroup, r.wake.Files) // while the image is verified
	defer func() { r.releaseScratchAndEngine(err) }()
	if err = r.image.verifyAllButMemory(r.engine); err != nil {
		return err
	}
	failpoint.Hit("wake.verified")
	locks := r.image.dir.store.locks.of(r.image.path())
	if err = errors.Join(locks.Release(), r.image.manifest.Descriptors.CheckLocksFree()); err == nil {
		err = restoreStopped(ctx)
	}
	failpoint.Hit("wake.loaded")
	if err == nil {
		err = r.verifyMarkUsedAndLetRun()
	}
	if err != nil {
		err = errors.Join(err, r.killTreeIfRestored())
		locks.Hold()
		return err
	}
	_ = r.image.dir.store.locks.giveUp(r.image.path()) // the tree has them
	return nil
}

// releaseScratchAndEngine releases what only run needs; runErr is the error of run. After a
// success the engine ends in the background; after an error the method waits for the end of
// the engine, whose cgroup the caller will remove.
func (r *restoration) releaseScratchAndEngine(runErr error) {
	r.removeScratch()
	if runErr != nil {
		r.prestarted.Close()
		return
	}
	r.image.dir.store.runInBackground(r.prestarted.Close)
}

// killTreeIfRestored ends a restored tree that must not run, with all processes in its cgroup,
// and then its loading. It does nothing if the engine has not restored the tree.
func (r *restoration) killTreeIfRestored() error {
	if r.root == nil {
		return nil
	}
	err := errors.Join(killAndReap(r.root), r.wake.Cleanup())
	if r.loading != nil {
		r.loading.Close()
	}
	return err
}

// restoreEagerly has the engine restore the tree with all its memory. Meanwhile it prepares
// the invalidation of the image and verifies the page files, unless they were verified when
// they were unpacked. Their sizes are known to be right, and the engine interprets none of
// them.
func (r *restoration) restoreEagerly(ctx context.Context) error {
	dir, err := r.unpackIfPacked(false)
	if err != nil {
		return err
	}
	verified := make(chan error, 1)
	go func() {
		var err error
		if r.unpacked == nil {
			err = r.image.verifyFiles(isPageFile)
		}
		if err == nil {
			err = r.image.prepareUse()
		}
		verified <- err
	}()
	err = r.restoreWithRetries(ctx, RestoreOrder{Dir: dir, ID: r.image.manifest.ID}, func(ctx context.Context, order RestoreOrder) (err error) {
		r.root, err = r.engine.Restore(ctx, order)
		return err
	})
	if verr := <-verified; verr != nil {
		return errors.Join(verr, err)
	}
	return err
}

// restoreLazily has the engine restore the tree without its memory and begin the loading. It
// also prepares the invalidation of the image.
func (r *restoration) restoreLazily(ctx context.Context) error {
	dir, err := r.unpackIfPacked(true)
	if err != nil {
		return err
	}
	order := RestoreOrder{Dir: dir, ID: r.image.manifest.ID}
	if r.unpacked != nil {
		order.ProvideChunk = func(file string, index int64) error { return damagedAsRefused(r.unpacked.UnpackChunk(file, index)) }
	}
	err = r.restoreWithRetries(ctx, order, func(ctx context.Context, order RestoreOrder) error {
		m, err := r.image.openMemory()
		if err == nil {
			r.root, r.loading, err = r.engine.RestoreLazy(ctx, order, m)
		}
		return err
	})
	if err != nil {
		return err
	}
	return r.image.prepareUse()
}

// restoreLazilyAndWait is like restoreLazily, but returns when all memory is in the tree. It
// spares a packed image from being unpacked first. If the engine has no lazy restore it does
// what restoreEagerly does.
func (r *restoration) restoreLazilyAndWait(ctx context.Context) error {
	err := r.restoreLazily(ctx)
	if errors.Is(err, ErrUnsupported) {
		r.removeScratch()
		return r.restoreEagerly(ctx)
	}
	if err != nil {
		return err
	}
	r.loading.Hurry()
	select {
	case <-r.loading.Done():
		return r.loading.Err()
	case <-ctx.Done():
		return fmt.Errorf("cannot restore: the memory was not read in time: %w", timelimit.EndError(ctx))
	}
}

// restoreWithRetries completes the order and calls restore, and again after a failure and
// the Cleanup of the WakeOptions, unless a new attempt can't succeed. Each attempt has its
// share of the time, so that an attempt that hangs leaves some time for the next. An
// ErrUnsupported is returned as it is.
func (r *restoration) restoreWithRetries(ctx context.Context, order RestoreOrder, restore func(context.Context, RestoreOrder) error) error {
	order.Cgroup, order.Files, order.LoaderDir, order.Prestarted = r.wake.Cgroup, r.wake.Files, r.wake.LoaderDir, r.prestarted
	var errs []error
	for left := restoreAttempts; left > 0; left-- {
		killsBefore := memory.OOMKills()
		limited, cancel := withShareOfRemainingTime(ctx, left)
		err := restore(limited, order)
		cancel()
		if err == nil || errors.Is(err, ErrUnsupported) {
			return err
		}
		if order.Prestarted != nil { // the attempt may not have used the engine
			order.Prestarted.Close()
			order.Prestarted = nil
		}
		if memory.OOMKills() > killsBefore {
			err = fmt.Errorf("memory is short, and the kernel killed a process meanwhile: %w", err)
		}
		if len(errs) == 0 || errs[0].Error() != err.Error() { // the same need not be read twice
			errs = append(errs, err)
		}
		errs = append(errs, r.wake.Cleanup())
		if ctx.Err() != nil || ClassifyFailure(err) != Passing {
			break
		}
	}
	return fmt.Errorf("cannot restore: %w", errors.Join(errs...))
}

// withShareOfRemainingTime limits ctx to one of the equal parts of the time that ctx has
// left. A ctx without a deadline stays without one.
func withShareOfRemainingTime(ctx context.Context, parts int) (context.Context, context.CancelFunc) {
	late, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(late)/time.Duration(parts))
}

// unpackIfPacked returns the directory in which the engine finds the files of the image. It
// unpacks a packed image into a scratch first, with withoutMemory except for the contents
// of the page files. The error wraps ErrRefused if a file is damaged.
func (r *restoration) unpackIfPacked(withoutMemory bool) (dir string, err error) {
	m := &r.image.manifest
	if m.Packing == nil {
		return r.image.path(), nil
	}
	store := r.image.dir.store
	codec, err := pack.NewCodec(m.Packing, m.ID, store.key, store.packing.Key)
	if err != nil {
		return "", err
	}
	scratch, err := pack.NewScratch(r.image.neededScratchSize(), m.Packing, r.image.dir.makeDraftDir)
	if err != nil {
		return "", err
	}
	r.unpacked = pack.NewUnpacker(codec, r.image.path(), m.Files, scratch)
	err = r.unpacked.UnpackAll(func(name string) bool { return withoutMemory && isPageFile(name) })
	return r.unpacked.Dir, damagedAsRefused(err)
}

// removeScratch removes the scratch of unpackIfPacked, if there is one.
func (r *restoration) removeScratch() {
	if r.unpacked != nil {
		_ = r.unpacked.Close()
		r.unpacked = nil
	}
}

// neededScratchSize returns how many bytes a scratch needs for the unpacked files, in whole
// pages and with imageOverhead.
func (i *Image) neededScratchSize() int64 {
	page := int64(os.Getpagesize())
	total := int64(imageOverhead)
	for _, f := range i.manifest.Files {
		total += (f.Size + page - 1) / page * page
	}
	return total
}

// verifyMarkUsedAndLetRun compares the rights and cgroups of the restored tree with the dumped
// one's, restores what the engine does not of threads, sockets and timers, zeroes droppable
// memory,
// marks the image's generation as used, and lets the tree run.
func (r *restoration) verifyMarkUsedAndLetRun() error {
	m := &r.image.manifest
	pids := procfs.Tree(r.root.Pid)
	threads, err := procfs.ThreadIdentities(pids)
	if err != nil {
		return err
	}
	if err := checkRestoredRights(m.Threads, threads); err != nil {
		return err
	}
	if err := checkAllInRootCgroup(pids); err != nil {
		return err
	}
	if err := procfs.ApplyThreadTunings(pids, m.Tuning); err != nil {
		return err
	}
	if err := m.Descriptors.Apply(pids); err != nil {
		return err
	}
	if err := procfs.ZeroMemory(pids, m.Droppable); err != nil {
		return err
	}
	if r.wake.BeforeUse != nil {
		if err := r.wake.BeforeUse(r.root); err != nil {
			return err
		}
	}
	if err := r.image.dir.store.commitWakeOf(r.image.dir.callsign, r.image.Generation); err != nil {
		return fmt.Errorf("cannot mark the image as used: %w", err)
	}
	removeLinks(m.Links) // before the tree runs, which need not see them
	failpoint.Hit("wake.consumed")
	continueExcept(pids, m.Stopped)
	return nil
}

// prepareUse prepares the mark that says that the image is used.
func (i *Image) prepareUse() error { return i.dir.store.prepareWakeOf(i.dir.callsign, i.Generation) }

// killLimit is how long a root may take to end once it is killed.
const killLimit = 5 * time.Second

// killAndReap kills a root, and with it its PID namespace.
func killAndReap(root *os.Process) error {
	return errors.Join(root.Kill(), reap.Child(root.Pid, killLimit))
}
