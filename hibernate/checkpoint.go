// Package hibernate puts a process tree to disk and brings it back, as a
// transaction: at every moment either the processes or the committed image are
// the truth. It does not know what the tree is for; its owner, the Tree, does.
package hibernate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/pack"
	"dormouse/internal/atomicfile"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/procfs"
)

// Tree is a running process tree as a checkpoint needs it.
type Tree interface {
	// PID of the root and directory of the tree's own cgroup, "" for none.
	PID() int
	Cgroup() cgroup.Dir
	// Quiesce makes the tree ready: nothing outside of it is connected to it any
	// more. Revive undoes that; it is also called after a Quiesce that failed.
	Quiesce(ctx context.Context) error
	Revive(ctx context.Context) error
	// Kill ends the stopped tree and returns when it is reaped.
	Kill(ctx context.Context)
	// Record is what the owner must know to connect to the tree after a wake; it
	// is asked once the tree is quiet and must marshal to JSON.
	Record() (any, error)
}

// margin is what an image may need beyond the memory of its tree.
const margin = 4 << 20

// Checkpoint turns the tree into the image of slot and ends it. After an error
// there is no image and the tree runs as before; if that can't be had either,
// the error is Revive's as well.
func Checkpoint(ctx context.Context, e Engine, slot *Slot, t Tree) (*Image, error) {
	image, err := take(ctx, e, slot, t, false)
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint: %w", err)
	}
	failpoint.Hit("hibernate.durable")
	t.Kill(context.WithoutCancel(ctx))
	return image, nil
}

// take commits an image of the tree, which stands still then. After an error there
// is none, and the tree runs as before.
func take(ctx context.Context, e Engine, slot *Slot, t Tree, golden bool) (*Image, error) {
	tree := procfs.Tree(t.PID())
	if err := e.ObstaclesAnyTime(tree); err != nil {
		return nil, err
	}
	release, err := slot.store.admit(ctx, slot, tree, golden)
	if err != nil {
		return nil, err
	}
	defer release()
	draft, err := slot.draft()
	if err != nil {
		return nil, err
	}
	image, err := commit(ctx, e, slot, t, draft, golden)
	if err != nil {
		err = errors.Join(err, os.RemoveAll(draft))
		_ = os.Remove(slot.path(generationNew)) // it may not have come so far
		return nil, errors.Join(err, t.Revive(context.WithoutCancel(ctx)))
	}
	return image, nil
}

// Preflight refuses what is certain to fail, before anything is done to the tree
// below root, as Checkpoint does.
func Preflight(e Engine, slot *Slot, root int) error {
	tree := procfs.Tree(root)
	if err := e.ObstaclesAnyTime(tree); err != nil {
		return err
	}
	slot.store.mu.Lock()
	defer slot.store.mu.Unlock()
	_, err := slot.store.estimate(slot, tree)
	if errors.Is(err, ErrSpace) && slot.store.hasGolden() {
		return nil // which would go first
	}
	return err
}

// commit does all that can be undone, and the rename that can't.
func commit(ctx context.Context, e Engine, slot *Slot, t Tree, draft string, golden bool) (*Image, error) {
	failpoint.Hit("hibernate.begun")
	order := Dump{PID: t.PID(), Dir: draft, Cgroup: t.Cgroup(), Again: golden}
	if !slot.store.packing.Packs() {
		order.Prestarted = e.Prestart(t.Cgroup(), nil) // while the tree makes itself ready
		defer order.Prestarted.Close()
	}
	if err := t.Quiesce(ctx); err != nil {
		return nil, err
	}
	failpoint.Hit("hibernate.quiet")
	if err := e.ObstaclesWhenQuiet(procfs.Tree(t.PID())); err != nil {
		return nil, err
	}
	m, err := slot.newManifest(e, t, golden)
	if err != nil {
		return nil, err
	}
	tagger, err := pack.NewTagger(slot.store.key, m.ID)
	if err != nil {
		return nil, err
	}
	var packed *pack.Stream
	if m.Packing != nil {
		if packed, err = slot.newStream(ctx, m, tagger, draft); err != nil {
			return nil, err
		}
		defer packed.Close()
		order.Dir, order.Pages = packed.ScratchDir(), packed.Create
	}
	pids := procfs.Tree(t.PID())
	m.Stopped = stoppedIn(pids)
	mapped := make(chan error, 1)
	go func() { // meanwhile, on another processor
		var err error
		m.Mapped, err = describeMapped(pids, tagger)
		mapped <- err
	}()
	stopFlush := flushEarly(order.Dir) // of packed page files the stream takes care
	err = e.Dump(ctx, order)
	stopFlush()
	if merr := <-mapped; err != nil || merr != nil {
		if err == nil {
			resume(procfs.Tree(t.PID()), m.Stopped)
		}
		return nil, errors.Join(err, merr)
	}
	// From here on the tree stands still and can be described.
	failpoint.Hit("hibernate.dumped")
	synced := make(chan error, 1)
	go func() { // the disk writes meanwhile
		var err error
		if m.Packing == nil {
			err = m.syncFiles(tagger, draft)
		}
		synced <- err
	}()
	pids = procfs.Tree(t.PID())
	err = m.describeTree(pids, tagger)
	if err == nil {
		err = e.ObstaclesAnyTime(pids) // opened since the preflight, and perhaps dumped all the same
	}
	if err == nil {
		err = e.ObstaclesWhenStopped(pids)
	}
	if err == nil {
		err = m.checkIdentities(e, order.Dir)
	}
	if serr := <-synced; serr != nil {
		err = errors.Join(err, fmt.Errorf("cannot make the image durable: %w", serr))
	}
	if err == nil {
		err = m.seal(slot.store, packed, draft)
	}
	if err == nil && !golden {
		err = slot.prepareConsume(m.Generation)
	}
	if err == nil {
		err = ctx.Err() // the caller was promised an answer by now, and this can still be undone
	}
	failpoint.Hit("hibernate.sealed")
	if err == nil {
		err = os.Rename(draft, slot.path(m.place())) // the commit
	}
	failpoint.Hit("hibernate.committed")
	if err == nil {
		if err = atomicfile.SyncDir(slot.dir); err != nil {
			_ = os.Rename(slot.path(m.place()), draft)
		}
	}
	if err != nil {
		resume(pids, m.Stopped)
		return nil, err
	}
	return m.image(slot), nil
}

// deletedFiles is room for deleted files whose contents an engine has to keep.
const deletedFiles = 256 << 20

// newStream begins to pack the image that m describes into the draft.
func (s *Slot) newStream(ctx context.Context, m *manifest, t pack.Tagger, draft string) (*pack.Stream, error) {
	codec, err := pack.NewCodec(m.Packing, s.store.packing.Key, m.ID, t)
	if err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	size := s.store.pending[s] + deletedFiles
	s.store.mu.Unlock()
	scratch, err := pack.NewScratch(size, m.Packing, s.draft)
	if err != nil {
		return nil, err
	}
	return pack.NewStream(ctx, codec, scratch, draft), nil
}

// stoppedIn returns those of the processes that are stopped, by their numbers
// in their own PID namespace.
func stoppedIn(pids []int) []int {
	var stopped []int
	for _, pid := range pids {
		if procfs.IsStopped(pid) {
			stopped = append(stopped, procfs.NSPid(pid))
		}
	}
	return stopped
}

// resume lets every process run that was not stopped before the dump.
func resume(pids, stopped []int) {
	procfs.Continue(slices.DeleteFunc(slices.Clone(pids), func(pid int) bool {
		return len(stopped) > 0 && slices.Contains(stopped, procfs.NSPid(pid))
	}))
}

// newManifest returns what can be said of the next image before it exists.
func (s *Slot) newManifest(e Engine, t Tree, golden bool) (*manifest, error) {
	var generation uint64 // none: it can't be taken for an ordinary image
	if !golden {
		used, err := s.used()
		if err != nil {
			return nil, err
		}
		generation = used + 1
	}
	known, err := t.Record()
	if err != nil {
		return nil, err
	}
	record, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	packing, err := s.store.packing.NewFormat()
	if err != nil {
		return nil, err
	}
	return &manifest{
		Format:     format,
		Packing:    packing,
		ID:         newID(),
		Callsign:   s.callsign,
		Golden:     golden,
		Generation: generation,
		Engine:     e.Name(),
		Kernel:     kernelRelease(),
		BootID:     procfs.BootID(),
		Record:     record,
	}, nil
}

// describeTree notes what the tasks may do, and what they run from if that is no
// longer what it was before the dump.
func (m *manifest) describeTree(pids []int, t pack.Tagger) (err error) {
	m.Created, m.Uptime = time.Now().Round(0), uptime()
	if m.Tasks, err = procfs.ThreadIdentities(pids); err != nil {
		return err
	}
	m.Tuning = procfs.Tunings(pids)
	if m.Golden {
		if m.Droppable, err = procfs.DroppableSpans(pids); err != nil {
			return err
		}
	}
	paths, err := procfs.MappedFiles(pids)
	if err != nil {
		return err
	}
	if !slices.EqualFunc(m.Mapped, paths, func(f mappedFile, path string) bool { return f.Path == path }) {
		m.Mapped, err = describeMapped(pids, t)
	}
	return err
}

// seal makes what is packed durable in the draft, and the manifest of all.
func (m *manifest) seal(s *Store, packed *pack.Stream, draft string) (err error) {
	if packed != nil {
		if m.Files, err = packed.Finish(); err != nil {
			return fmt.Errorf("cannot make the image durable: %w", err)
		}
	}
	for _, f := range m.Files {
		m.Bytes += f.Size
	}
	if err := writeSealed(filepath.Join(draft, manifestName), s.key, m); err != nil {
		return fmt.Errorf("cannot write the manifest: %w", err)
	}
	return atomicfile.SyncDir(draft)
}

// syncFiles describes the files of the draft while they are written.
func (m *manifest) syncFiles(t pack.Tagger, draft string) error {
	entries, err := os.ReadDir(draft)
	if err != nil {
		return err
	}
	files := make([]*os.File, len(entries))
	for i, entry := range entries {
		if files[i], err = os.Open(filepath.Join(draft, entry.Name())); err != nil {
			return err
		}
		defer files[i].Close()
	}
	synced := make(chan error, 1)
	go func() { synced <- syncAll(files) }() // the disk writes while the processor reads
	m.Files, err = describeFiles(files, t)
	return errors.Join(err, <-synced)
}

// image is the image that m describes once it is committed.
func (m *manifest) image(slot *Slot) *Image {
	return &Image{Engine: m.Engine, Bytes: m.Bytes, Created: m.Created, Generation: m.Generation, slot: slot, manifest: *m}
}

func describeFiles(files []*os.File, t pack.Tagger) ([]pack.File, error) {
	described := make([]pack.File, len(files))
	for i, f := range files {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		name := filepath.Base(f.Name())
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", name)
		}
		tag, err := t.TagFile(f, uint32(i), info.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		described[i] = pack.File{Name: name, Size: info.Size(), Tag: tag}
	}
	return described, nil
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // can't fail with a valid pointer
	return unix.ByteSliceToString(u.Release[:])
}

// uptime counts from the boot, also while the machine sleeps.
func uptime() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // there always is one
	return time.Duration(now.Nano())
}
