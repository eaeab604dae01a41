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
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
	"dormouse/internal/procfs"
)

// Tree is a running process tree as a checkpoint needs it.
type Tree interface {
	// PID of the root and directory of the tree's own cgroup, "" for none.
	PID() int
	Cgroup() string
	// Quiesce makes the tree ready: nothing outside of it is connected to it any
	// more. Revive undoes that; it is also called after a Quiesce that failed.
	Quiesce(ctx context.Context) error
	Revive(ctx context.Context) error
	// Kill ends the stopped tree and returns when it is reaped.
	Kill(ctx context.Context) error
	// Record is what the owner must know to connect to the tree after a wake; it
	// is asked once the tree is quiet and must marshal to JSON.
	Record() (any, error)
}

// margin is what an image may need beyond the memory of its tree.
const margin = 16 << 20

// Checkpoint turns the tree into the image of slot and ends it. After an error
// there is no image and the tree runs as before; if that can't be had either,
// the error is Revive's as well.
func Checkpoint(ctx context.Context, e Engine, slot *Slot, t Tree) (*Image, error) {
	if err := checkSpace(slot, t.PID()); err != nil {
		return nil, fmt.Errorf("cannot checkpoint: %w", err)
	}
	draft, err := slot.draft()
	if err != nil {
		return nil, fmt.Errorf("cannot checkpoint: %w", err)
	}
	image, err := commit(ctx, e, slot, t, draft)
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot checkpoint: %w", err), os.RemoveAll(draft))
		return nil, errors.Join(err, t.Revive(context.WithoutCancel(ctx)))
	}
	if err := t.Kill(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("cannot end the checkpointed tree: %w", err)
	}
	return image, nil
}

// commit does all that can be undone, and the rename that can't.
func commit(ctx context.Context, e Engine, slot *Slot, t Tree, draft string) (*Image, error) {
	if err := t.Quiesce(ctx); err != nil {
		return nil, err
	}
	stopped := stoppedIn(procfs.Tree(t.PID()))
	known, err := t.Record()
	if err != nil {
		return nil, err
	}
	record, err := json.Marshal(known)
	if err != nil {
		return nil, err
	}
	if err := e.Dump(ctx, Dump{PID: t.PID(), Dir: draft, Cgroup: t.Cgroup()}); err != nil {
		return nil, err
	}
	// From here on the tree stands still and can be described.
	pids := procfs.Tree(t.PID())
	image, err := seal(slot, e, pids, draft, manifest{Stopped: stopped, Record: record})
	if err == nil {
		err = ctx.Err() // the caller was promised an answer by now, and this can still be undone
	}
	if err == nil {
		err = os.Rename(draft, slot.path(imageName)) // the commit
	}
	if err == nil {
		if err = atomicfile.SyncDir(slot.dir); err != nil {
			_ = os.Rename(slot.path(imageName), draft)
		}
	}
	if err != nil {
		resume(pids, stopped)
		return nil, err
	}
	return image, nil
}

// stoppedIn returns those of the processes that are stopped, by their numbers
// in their own PID namespace.
func stoppedIn(pids []int) []int {
	var stopped []int
	for _, pid := range pids {
		if procfs.Stopped(pid) {
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

// describe completes what the manifest says of the tree and of this host.
func (m *manifest) describe(slot *Slot, e Engine, pids []int) error {
	used, err := slot.used()
	if err != nil {
		return err
	}
	m.Format = format
	m.ID = newID()
	m.Callsign = slot.callsign
	m.Generation = used + 1
	m.Created = time.Now().Round(0)
	m.Engine = e.Name()
	m.Kernel = kernelRelease()
	m.BootID = bootID()
	m.Tasks, err = procfs.Tasks(pids)
	return err
}

// seal makes the draft durable, describes it in a manifest and returns the image
// that it will be once it is committed.
func seal(slot *Slot, e Engine, pids []int, draft string, m manifest) (*Image, error) {
	if err := m.describe(slot, e, pids); err != nil {
		return nil, err
	}
	t, err := newTagger(slot.store.key, m.ID)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(draft)
	if err != nil {
		return nil, err
	}
	m.Files = make([]file, len(entries))
	var syncing sync.WaitGroup
	syncErrs := make([]error, len(entries))
	for i, entry := range entries {
		f, err := os.OpenFile(filepath.Join(draft, entry.Name()), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		// The disk writes while the processor reads.
		syncing.Go(func() { syncErrs[i] = f.Sync() })
		if m.Files[i], err = describeFile(f, i, t); err != nil {
			syncing.Wait()
			return nil, fmt.Errorf("cannot read %s: %w", entry.Name(), err)
		}
		m.Bytes += m.Files[i].Size
	}
	m.Mapped, err = describeMapped(pids, t)
	syncing.Wait()
	if err := errors.Join(append(syncErrs, err)...); err != nil {
		return nil, fmt.Errorf("cannot make the image durable: %w", err)
	}
	if err := writeSealed(filepath.Join(draft, manifestName), slot.store.key, m); err != nil {
		return nil, fmt.Errorf("cannot write the manifest: %w", err)
	}
	if err := atomicfile.SyncDir(draft); err != nil {
		return nil, err
	}
	return &Image{Bytes: m.Bytes, Created: m.Created, Generation: m.Generation, slot: slot, manifest: m}, nil
}

func describeFile(f *os.File, number int, t tagger) (file, error) {
	info, err := f.Stat()
	if err != nil {
		return file{}, err
	}
	if !info.Mode().IsRegular() {
		return file{}, errors.New("it is not a regular file")
	}
	tag, err := t.file(f, uint32(number), info.Size())
	return file{Name: filepath.Base(f.Name()), Size: info.Size(), Tag: tag}, err
}

// checkSpace refuses early what could not be written: an image is about as large
// as the memory of its tree.
func checkSpace(slot *Slot, pid int) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(slot.store.dir, &fs); err != nil {
		return err
	}
	free := int64(fs.Bavail) * fs.Bsize
	need := procfs.PSS(procfs.Tree(pid)) + margin
	if need > free {
		return fmt.Errorf("%w: the image needs about %d MiB, %s has %d MiB free", ErrSpace, need>>20, slot.store.dir, free>>20)
	}
	return nil
}

func kernelRelease() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // can't fail with a valid pointer
	return unix.ByteSliceToString(u.Release[:])
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
