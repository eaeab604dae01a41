package hibernate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"dormouse/hibernate/pack"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/procfs"
)

// pagesPrefix begins the names of the files that hold memory and nothing that
// an engine would act on.
const pagesPrefix = "pages-"

func isPages(name string) bool { return strings.HasPrefix(name, pagesPrefix) }

// attempts is how often a wake is tried: an engine that was killed or lost a
// race leaves the image as it was.
const attempts = 2

// Wake is where a tree is restored to.
type Wake struct {
	Cgroup cgroup.Dir
	// Files belong to the caller.
	Files []Inherited
	// Cleanup is called after each attempt that failed and must end whatever is
	// left in the cgroup.
	Cleanup func() error
	// Lasting is as in Restore.
	Lasting string

	dir        string // of the files as the engine has them
	provide    func(file string, index int64) error
	prestarted Prestarted
}

// Restore brings the image back to life and uses it up, unless it is golden. The
// returned root is a child of this process. Nothing of the tree runs before every
// byte of the image has been verified and every task found to be what it was. After
// an error nothing of it runs; if the error is ErrRefused no further attempt can
// succeed.
func (i *Image) Restore(ctx context.Context, e Engine, w Wake) (_ *os.Process, err error) {
	w.prestarted = e.Prestart(w.Cgroup, w.Files) // while the image is verified
	defer func() { i.dismiss(w.prestarted, err) }()
	t, err := i.check(e)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("wake.verified")
	if i.manifest.Packing != nil {
		root, loading, err := i.restoreLazy(ctx, e, t, w, loadAll)
		if err == nil {
			loading.Close()
		}
		if !errors.Is(err, ErrUnsupported) {
			return root, err
		}
	}
	w, closeStage, err := i.stage(t, w, false)
	if err != nil {
		return nil, err
	}
	defer closeStage()
	// The memory is verified while the engine loads it: its size is known to be
	// right and no engine acts on what it holds.
	meanwhile := make(chan error, 1)
	go func() {
		var err error
		if i.manifest.Packing == nil {
			err = i.verify(t, func(name string) bool { return isPages(name) })
		}
		if err == nil {
			err = i.dir.prepareInvalidation(i.Generation)
		}
		meanwhile <- err
	}()
	var root *os.Process
	err = i.load(ctx, w, func(ctx context.Context, order Restore) (err error) {
		root, err = e.Restore(ctx, order)
		return err
	})
	failpoint.Hit("wake.loaded")
	if merr := <-meanwhile; merr != nil {
		err = errors.Join(merr, err)
	}
	if err == nil {
		err = i.admit(root.Pid)
	}
	if err != nil {
		if root != nil {
			err = errors.Join(err, end(root), w.Cleanup())
		}
		return nil, err
	}
	return root, nil
}

// RestoreLazy is Restore before the memory is read: it comes into the running
// tree, verified piece by piece, until the Loading is done. The image may be
// discarded meanwhile. If the loading fails the caller must kill the tree.
func (i *Image) RestoreLazy(ctx context.Context, e Engine, w Wake) (_ *os.Process, _ Loading, err error) {
	w.prestarted = e.Prestart(w.Cgroup, w.Files)
	defer func() { i.dismiss(w.prestarted, err) }()
	t, err := i.check(e)
	if err != nil {
		return nil, nil, err
	}
	failpoint.Hit("wake.verified")
	return i.restoreLazy(ctx, e, t, w, func(context.Context, Loading) error { return nil })
}

// dismiss ends an engine that has done its work, for which nobody waits, or failed:
// then it must be gone before its cgroup is.
func (i *Image) dismiss(s Prestarted, err error) {
	if err != nil {
		s.Close()
		return
	}
	i.dir.store.runInBackground(s.Close)
}

// loadAll returns when all memory is in the tree: a packed image that is wanted at
// once is not unpacked beside it first.
func loadAll(ctx context.Context, l Loading) error {
	l.Hurry()
	select {
	case <-l.Done():
		return l.Err()
	case <-ctx.Done():
		return fmt.Errorf("cannot restore: the memory was not read in time: %w", ctx.Err())
	}
}

// restoreLazy lets the tree run when stopped returns.
func (i *Image) restoreLazy(ctx context.Context, e Engine, t pack.Tagger, w Wake, stopped func(context.Context, Loading) error) (*os.Process, Loading, error) {
	w, closeStage, err := i.stage(t, w, true)
	if err != nil {
		return nil, nil, err
	}
	defer closeStage()
	var root *os.Process
	var loading Loading
	err = i.load(ctx, w, func(ctx context.Context, order Restore) error {
		m, err := i.memory()
		if err == nil {
			root, loading, err = e.RestoreLazy(ctx, order, m)
		}
		return err
	})
	failpoint.Hit("wake.loaded")
	if err == nil {
		err = i.dir.prepareInvalidation(i.Generation)
	}
	if err == nil {
		err = stopped(ctx, loading)
	}
	if err == nil {
		err = i.admit(root.Pid)
	}
	if err != nil {
		if root != nil {
			err = errors.Join(err, end(root), w.Cleanup())
			loading.Close()
		}
		return nil, nil, err
	}
	return root, loading, nil
}

// Fits tells whether the engine, the kernel and what the tree runs from are those
// that the image was made under, and whether the host has its key.
func (i *Image) Fits(e Engine) error {
	_, err := i.fits(e)
	return err
}

// fits returns what to verify the files of the image with.
func (i *Image) fits(e Engine) (pack.Tagger, error) {
	if err := i.Locked(); err != nil {
		return pack.Tagger{}, err
	}
	if err := i.sameConditions(e); err != nil {
		return pack.Tagger{}, err
	}
	t, err := pack.NewTagger(i.dir.store.key, i.manifest.ID)
	if err != nil {
		return pack.Tagger{}, err
	}
	return t, checkMapped(i.manifest.Mapped, t)
}

// check verifies everything but the memory, and returns what to verify that
// with.
func (i *Image) check(e Engine) (pack.Tagger, error) {
	t, err := i.fits(e)
	if err != nil {
		return pack.Tagger{}, err
	}
	if err := i.checkFiles(); err != nil {
		return pack.Tagger{}, err
	}
	if i.manifest.Packing == nil { // or it is verified when it is unpacked
		err := i.verify(t, func(name string) bool { return !isPages(name) })
		if err != nil {
			return pack.Tagger{}, err
		}
	}
	return t, nil
}

// stage says where the engine finds its files, until the returned function is
// called.
func (i *Image) stage(t pack.Tagger, w Wake, lazy bool) (_ Wake, end func(), err error) {
	if i.manifest.Packing == nil {
		w.dir = i.path()
		return w, func() {}, nil
	}
	u, err := i.unpack(t, lazy)
	if err != nil {
		return w, nil, err
	}
	w.dir = u.Dir
	if lazy {
		w.provide = func(file string, index int64) error { return refuseDamaged(u.UnpackChunk(file, index)) }
	}
	return w, func() { _ = u.Close() }, nil
}

// unpack writes the files of a packed image into a scratch, with lazy only the sizes of
// its page files.
func (i *Image) unpack(t pack.Tagger, lazy bool) (*pack.Unpacker, error) {
	m := &i.manifest
	codec, err := pack.NewCodec(m.Packing, i.dir.store.packing.Key, m.ID, t)
	if err != nil {
		return nil, err
	}
	scratch, err := pack.NewScratch(i.unpackedSize(), m.Packing, i.dir.makeDraft)
	if err != nil {
		return nil, err
	}
	u := pack.NewUnpacker(codec, i.path(), m.Files, scratch)
	if err := u.UnpackAll(func(name string) bool { return lazy && isPages(name) }); err != nil {
		return nil, errors.Join(refuseDamaged(err), u.Close())
	}
	return u, nil
}

// unpackedSize returns how much space the unpacked files take, in whole pages.
func (i *Image) unpackedSize() int64 {
	page := int64(os.Getpagesize())
	total := int64(imageOverhead)
	for _, f := range i.manifest.Files {
		total += (f.Size + page - 1) / page * page
	}
	return total
}

// load has the engine rebuild the tree, stopped. Each attempt has its share of the
// time, so that one that hangs leaves some to the next.
func (i *Image) load(ctx context.Context, w Wake, restore func(context.Context, Restore) error) error {
	order := Restore{Dir: w.dir, Cgroup: w.Cgroup, Provide: w.provide, Lasting: w.Lasting, Files: w.Files, Prestarted: w.prestarted}
	var errs []error
	for left := attempts; left > 0; left-- {
		limited, cancel := share(ctx, left)
		err := restore(limited, order)
		cancel()
		if err == nil || errors.Is(err, ErrUnsupported) {
			return err
		}
		errs = append(errs, err, w.Cleanup())
		order.Prestarted = nil
		if ctx.Err() != nil || errors.Is(err, ErrRefused) {
			break
		}
	}
	return fmt.Errorf("cannot restore: %w", errors.Join(errs...))
}

// share limits ctx to an equal part of the time that it has left.
func share(ctx context.Context, parts int) (context.Context, context.CancelFunc) {
	late, limited := ctx.Deadline()
	if !limited {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(late)/time.Duration(parts))
}

// admit lets the restored tree run if it is what was dumped.
func (i *Image) admit(root int) error {
	pids := procfs.Tree(root)
	tasks, err := procfs.ThreadIdentities(pids)
	if err != nil {
		return err
	}
	if err := sameTasks(i.manifest.Tasks, tasks); err != nil {
		return err
	}
	if err := sameCgroup(pids); err != nil {
		return err
	}
	if err := procfs.ApplyTunings(pids, i.manifest.Tuning); err != nil {
		return err
	}
	if err := procfs.ClearSpans(pids, i.manifest.Droppable); err != nil {
		return err
	}
	if err := i.dir.finishInvalidation(); err != nil {
		return fmt.Errorf("cannot mark the image as used: %w", err)
	}
	failpoint.Hit("wake.consumed")
	resume(pids, i.manifest.Stopped)
	return nil
}

// sameTasks returns an ErrRefused when a restored task may do other things than
// the one that was dumped: an image decides about privileges, and a plugin can
// influence its own image.
func sameTasks(want, got []procfs.ThreadIdentity) error {
	if len(want) != len(got) {
		return fmt.Errorf("%w: it holds %d tasks, dumped were %d", ErrRefused, len(got), len(want))
	}
	for k := range want {
		if difference := want[k].Difference(got[k]); difference != "" {
			return fmt.Errorf("%w: task %d came back as another: %s", ErrRefused, want[k].ID, difference)
		}
	}
	return nil
}

// sameConditions refuses an image that was made under other conditions than it
// would be woken in.
func (i *Image) sameConditions(e Engine) error {
	m := &i.manifest
	if now := e.Name(); m.Engine != now {
		return fmt.Errorf("%w: it was made by %s, installed is %s", ErrRefused, m.Engine, now)
	}
	if now := kernelRelease(); m.Kernel != now {
		return fmt.Errorf("%w: it was made under kernel %s, running is %s", ErrRefused, m.Kernel, now)
	}
	return nil
}

// checkFiles compares names and sizes. An engine handed a shortened page file
// would wait for the rest for ever.
func (i *Image) checkFiles() error {
	entries, err := os.ReadDir(i.path())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	sizes := make(map[string]int64)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%w: %s is not a regular file", ErrRefused, entry.Name())
		}
		sizes[entry.Name()] = info.Size()
	}
	delete(sizes, manifestName)
	for _, f := range i.manifest.Files {
		size, ok := sizes[f.Name]
		if !ok {
			return fmt.Errorf("%w: %s is missing", ErrRefused, f.Name)
		}
		if size != f.StoredSize() {
			return fmt.Errorf("%w: %s has %d bytes, not %d", ErrRefused, f.Name, size, f.StoredSize())
		}
		delete(sizes, f.Name)
	}
	for name := range sizes {
		return fmt.Errorf("%w: %s does not belong to it", ErrRefused, name)
	}
	return nil
}

// verify reads the wanted files and returns an ErrRefused when one has changed.
func (i *Image) verify(t pack.Tagger, wanted func(name string) bool) error {
	for number, f := range i.manifest.Files {
		if !wanted(f.Name) {
			continue
		}
		err := i.verifyFile(t, number, f)
		if err != nil {
			return err
		}
	}
	return nil
}

func (i *Image) verifyFile(t pack.Tagger, number int, want pack.File) error {
	f, err := os.Open(i.path(want.Name))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	defer f.Close()
	got, err := t.TagFile(f, uint32(number), want.Size)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrRefused, want.Name, err)
	}
	if !bytes.Equal(got, want.Tag) {
		return fmt.Errorf("%w: %s is damaged", ErrRefused, want.Name)
	}
	return nil
}

// end kills a root that must not run, and with it its PID namespace.
func end(root *os.Process) error {
	err := root.Kill()
	if _, werr := root.Wait(); err == nil {
		err = werr
	}
	return err
}
