// Package hibernate turns a process tree into an image on disk and back, as a
// transaction: at every moment either the processes or the committed image count.
// The package does not know what the tree is for; the caller's Tree does.
package hibernate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"dormouse/hibernate/descriptors"
	"dormouse/hibernate/pack"
	"dormouse/internal/atomicfile"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
)

// Tree is a running process tree as a checkpoint needs it.
type Tree interface {
	// PID returns the process id of the root.
	PID() int
	// Cgroup returns the directory of the tree's own cgroup, "" for none.
	Cgroup() cgroup.Dir
	// Quiesce makes the tree ready for a dump: afterwards no process outside of the tree
	// is connected to the tree. Revive undoes a Quiesce, also one that failed.
	Quiesce(ctx context.Context) error
	Revive(ctx context.Context) error
	// Kill ends the stopped tree and returns when it is reaped.
	Kill(ctx context.Context)
	// OwnerRecord returns what the owner of the tree must know to connect to the tree
	// after a wake. It is called after Quiesce; the value must marshal to JSON.
	OwnerRecord() (any, error)
}

// imageOverhead is how many bytes an image may need beyond the memory of its tree.
const imageOverhead = 4 << 20

// Checkpoint turns the tree into the image of dir and ends the tree. After an error there
// is no image and the tree runs as before; if the tree can't run as before either, the
// error also wraps the error of t.Revive.
func Checkpoint(ctx context.Context, e Engine, dir *ImageDir, t Tree) (*Image, error) {
	if err := e.Check(ctx); err != nil {
		return nil, err
	}
	image, err := makeImageAndStopTree(ctx, e, dir, t, false)
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint: %w", err)
	}
	failpoint.Hit("hibernate.durable")
	t.Kill(context.WithoutCancel(ctx))
	dir.store.locks.of(image.path()).Hold()
	return image, nil
}

// PreflightCheckpoint returns an ErrObstacle or ErrSpace if a Checkpoint of the tree below
// the root is certain to fail. It only looks at the tree, which may be running.
func PreflightCheckpoint(e Engine, dir *ImageDir, rootPID int) error {
	tree := procfs.Tree(rootPID)
	if err := e.ObstaclesAnyTime(tree); err != nil {
		return err
	}
	dir.store.mu.Lock()
	defer dir.store.mu.Unlock()
	_, err := dir.store.estimateAndCheckDiskSpace(dir, tree)
	if errors.Is(err, ErrSpace) && dir.store.hasAnyGolden() {
		return nil // a golden image would make room
	}
	return err
}

// checkpoint is one attempt to make an image of a tree.
type checkpoint struct {
	engine Engine
	tree   Tree
	dir    *ImageDir
	golden bool

	draft    string // directory of the image while it is written
	order    DumpOrder
	manifest *manifest
	tagger   pack.Tagger
	stream   *pack.PackingStream // nil if the image is not packed
	stopped  []int               // processes of the tree, once the dump has stopped them

	locks *descriptors.HeldLocks // nil before shareLocks, or without locks

	syncing sync.WaitGroup // for syncErr
	syncErr error
}

// makeImageAndStopTree commits an image of the tree and leaves the tree stopped. After an
// error there is no image, and the tree runs as before, unless the error wraps one of
// t.Revive.
func makeImageAndStopTree(ctx context.Context, e Engine, dir *ImageDir, t Tree, forGolden bool) (*Image, error) {
	tree := procfs.Tree(t.PID())
	if err := e.ObstaclesAnyTime(tree); err != nil {
		return nil, err
	}
	release, err := dir.store.makeRoomAndReserve(ctx, dir, tree, forGolden)
	if err != nil {
		return nil, err
	}
	defer release()
	draft, err := dir.makeDraftDir()
	if err != nil {
		return nil, err
	}
	c := &checkpoint{engine: e, tree: t, dir: dir, golden: forGolden, draft: draft}
	if err := c.runPhases(ctx); err != nil {
		return nil, errors.Join(err, c.undoPhases(ctx))
	}
	return c.manifest.newImage(dir), nil
}

// runPhases runs the phases of a checkpoint in their order. The last one, publishImage,
// commits the image; after an error the caller must call undoPhases.
func (c *checkpoint) runPhases(ctx context.Context) error {
	failpoint.Hit("hibernate.begun")
	defer c.closeStreamAndEngine()
	for _, phase := range []func(context.Context) error{
		c.quiesceAndCheckTree,
		c.beginManifestAndPacking,
		c.dumpAndStopTree,
		c.describeTreeAndStartSync,
		c.checkObstaclesAndRights,
		c.sealDraft,
		c.shareLocks,
		c.publishImage,
	} {
		if err := phase(ctx); err != nil {
			return err
		}
	}
	return nil
}

// closeStreamAndEngine waits for the syncing of files, and ends the packing and the engine,
// which only the phases need.
func (c *checkpoint) closeStreamAndEngine() {
	c.syncing.Wait()
	if c.stream != nil {
		c.stream.Close()
	}
	if c.order.Prestarted != nil {
		c.order.Prestarted.Close()
	}
}

// undoPhases removes the draft, lets the tree run if the dump has stopped it, and revives it.
func (c *checkpoint) undoPhases(ctx context.Context) error {
	c.undoLinks()
	if c.stopped != nil {
		continueExcept(c.stopped, c.manifest.Stopped)
	}
	_ = c.locks.Close() // the tree has them still
	err := ownedtree.Remove(c.draft)
	c.dir.store.forgetPreparedWake(c.dir.callsign) // if sealDraft has prepared it
	return errors.Join(err, c.tree.Revive(context.WithoutCancel(ctx)))
}

// quiesceAndCheckTree makes the tree ready for a dump. Meanwhile the engine starts, unless
// images are packed. The error is an ErrObstacle if the quiet tree can't be dumped.
func (c *checkpoint) quiesceAndCheckTree(ctx context.Context) error {
	c.order = DumpOrder{PID: c.tree.PID(), Dir: c.draft, Cgroup: c.tree.Cgroup(), Reusable: c.golden}
	if !c.dir.store.packing.Packs() {
		c.order.Prestarted = c.engine.Prestart(c.tree.Cgroup(), nil)
	}
	if err := c.tree.Quiesce(ctx); err != nil {
		return err
	}
	failpoint.Hit("hibernate.quiet")
	return c.engine.ObstaclesWhenQuiet(procfs.Tree(c.tree.PID()))
}

// beginManifestAndPacking makes the manifest, as far as it is known before the dump, and the
// tagger of the image. If images are packed it has the engine dump into a packing stream.
func (c *checkpoint) beginManifestAndPacking(ctx context.Context) (err error) {
	if err := c.dir.store.saveKey(); err != nil {
		return err
	}
	if c.manifest, err = c.dir.newManifest(c.engine, c.tree, c.golden); err != nil {
		return err
	}
	c.order.ID, c.order.WillKeep = c.manifest.ID, c.noteLinks
	if c.tagger, err = pack.NewTagger(c.dir.store.key, c.manifest.ID); err != nil {
		return err
	}
	if c.manifest.Packing == nil {
		return nil
	}
	if c.stream, err = c.openPackingStream(ctx); err == nil {
		c.order.Dir, c.order.Pages = c.stream.ScratchDir(), c.stream.CreatePackedFile
	}
	return err
}

// dumpAndStopTree has the engine dump and stop the tree. Meanwhile another goroutine reads
// the code of the tree, which is looked at again when the tree is stopped.
func (c *checkpoint) dumpAndStopTree(ctx context.Context) error {
	pids := procfs.Tree(c.tree.PID())
	read := make(chan []codeFile, 1)
	go func() {
		code, _ := describeCode(pids, c.tagger, nil) // what it can't read now is read later
		read <- code
	}()
	stopFlush := flushPagesInBackground(c.order.Dir) // a pack.PackingStream flushes its files itself
	err := c.engine.Dump(ctx, c.order)
	stopFlush()
	c.manifest.Code = <-read
	if err != nil {
		return err
	}
	c.stopped = procfs.Tree(c.tree.PID())
	c.manifest.Stopped, err = c.engine.StoppedProcesses(c.order.Dir)
	return err
}

// describeTreeAndStartSync notes in the manifest what the stopped tree is. It also starts a
// goroutine that makes the files of the image durable and notes their tags, unless the
// image is packed; sealDraft waits for that.
func (c *checkpoint) describeTreeAndStartSync(context.Context) error {
	failpoint.Hit("hibernate.dumped")
	if c.stream == nil {
		c.syncing.Go(func() { c.syncErr = c.manifest.syncAndTagFiles(c.tagger, c.draft) })
	}
	return c.manifest.fillFromStoppedTree(c.stopped, c.tagger)
}

// checkObstaclesAndRights returns an ErrObstacle if the image lacks something of the stopped
// tree, and an ErrForged if the image would give a thread other rights than the thread has.
func (c *checkpoint) checkObstaclesAndRights(context.Context) error {
	for _, obstacles := range []func(treePIDs []int) error{
		c.engine.ObstaclesAnyTime, c.engine.ObstaclesWhenQuiet, // they may have come since they were looked for
		c.engine.ObstaclesWhenStopped,
	} {
		if err := obstacles(c.stopped); err != nil {
			return err
		}
	}
	return c.manifest.checkRightsInImage(c.engine, c.order.Dir)
}

// sealDraft waits until the files are durable and writes the manifest. It also prepares the
// invalidation that the wake will finish, since the disk may be full by then.
func (c *checkpoint) sealDraft(context.Context) error {
	if c.syncing.Wait(); c.syncErr != nil {
		return fmt.Errorf("cannot make the image durable: %w", c.syncErr)
	}
	if c.stream != nil {
		var err error
		if c.manifest.Files, err = c.stream.PackScratchAndFinish(); err != nil {
			return fmt.Errorf("cannot make the image durable: %w", err)
		}
	}
	if err := c.manifest.sealIntoDraft(c.dir.store.key, c.draft); err != nil {
		return err
	}
	if err := c.removeNoteOfLinks(); err != nil {
		return err
	}
	if c.golden {
		return nil
	}
	return c.dir.store.prepareWakeOf(c.dir.callsign, c.manifest.Generation)
}

// shareLocks makes this host hold the locks of the tree, too. Those of a golden image stay
// with the tree, which runs on.
func (c *checkpoint) shareLocks(context.Context) (err error) {
	if !c.golden {
		c.locks, err = c.manifest.Descriptors.ShareLocks(c.stopped)
	}
	return err
}

// publishImage gives the image its final name, durably, unless ctx has ended. After a crash
// the image counts if it has that name, and otherwise the tree. After an error the image is
// a draft again.
func (c *checkpoint) publishImage(ctx context.Context) error {
	if ctx.Err() != nil { // the caller's time is over, and nothing is committed yet
		return timelimit.EndError(ctx)
	}
	failpoint.Hit("hibernate.sealed")
	place := c.dir.path(c.manifest.imageDirName())
	if err := os.Rename(c.draft, place); err != nil {
		return err
	}
	failpoint.Hit("hibernate.committed")
	if err := atomicfile.SyncDir(c.dir.base); err != nil {
		_ = os.Rename(place, c.draft)
		return err
	}
	c.dir.store.locks.keep(place, c.locks)
	return nil
}

// deletedFilesSize is how many bytes a scratch has for files that the tree has open but
// deleted: the engine puts their contents into the image.
const deletedFilesSize = 256 << 20

// openPackingStream returns a stream that packs files of the image into the draft, with a
// new scratch for the files that the engine writes itself.
func (c *checkpoint) openPackingStream(ctx context.Context) (*pack.PackingStream, error) {
	store, m := c.dir.store, c.manifest
	codec, err := pack.NewCodec(m.Packing, m.ID, store.key, store.packing.Key)
	if err != nil {
		return nil, err
	}
	store.mu.Lock()
	size := store.reserved[c.dir] + deletedFilesSize
	store.mu.Unlock()
	scratch, err := pack.NewScratch(size, m.Packing, c.dir.makeDraftDir)
	if err != nil {
		return nil, err
	}
	return pack.NewPackingStream(ctx, codec, scratch, c.draft), nil
}

// continueExcept lets the stopped processes run, except for those with the numbers
// keepStoppedNSPIDs in their own PID namespace: the ones that were stopped before the dump.
func continueExcept(pids, keepStoppedNSPIDs []int) {
	procfs.ContinueStopped(slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		return len(keepStoppedNSPIDs) > 0 && slices.Contains(keepStoppedNSPIDs, procfs.NSPid(pid))
	}))
}
