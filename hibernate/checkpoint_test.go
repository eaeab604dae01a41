package hibernate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// tree is a fake tree that notes what a checkpoint asks of it.
type tree struct {
	root       *os.Process
	quiesceErr error
	reviveErr  error
	asked      []string
}

func (t *tree) PID() int           { return t.root.Pid }
func (t *tree) Cgroup() cgroup.Dir { return "" }
func (t *tree) OwnerRecord() (any, error) {
	return map[string]string{"socket": "s"}, nil
}

func (t *tree) Quiesce(context.Context) error {
	t.asked = append(t.asked, "quiesce")
	return t.quiesceErr
}

func (t *tree) Revive(context.Context) error {
	t.asked = append(t.asked, "revive")
	return t.reviveErr
}

func (t *tree) Kill(context.Context) {
	t.asked = append(t.asked, "kill")
	if err := killAndWait(t.root); err != nil {
		t.asked = append(t.asked, err.Error())
	}
}

func killAndWait(p *os.Process) error {
	err := p.Kill()
	_, werr := p.Wait()
	return errors.Join(err, werr)
}

// fixture is a store with one instance, an engine, and the tree of the instance.
type fixture struct {
	dir      string
	store    *hibernate.Store
	engine   *hibernatetest.Fake
	imageDir *hibernate.ImageDir
	tree     *tree
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	b := &fixture{dir: t.TempDir(), engine: hibernatetest.NewFake(t)}
	b.store = openStore(t, b.dir)
	b.imageDir = b.store.ImageDir("Counter")
	b.tree = &tree{root: b.engine.StartProcess(t, "memory of the plugin")}
	return b
}

func openStore(t *testing.T, dir string) *hibernate.Store {
	t.Helper()
	s, err := hibernate.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// mustCheckpoint makes an image of the tree.
func (b *fixture) mustCheckpoint(t *testing.T) *hibernate.Image {
	t.Helper()
	image, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// mustWake restores the tree from the image.
func (b *fixture) mustWake(t *testing.T, image *hibernate.Image) {
	t.Helper()
	root, err := image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup())
	if err != nil {
		t.Fatal(err)
	}
	b.tree = &tree{root: root}
}

func (b *fixture) optionsWithoutCgroup() hibernate.WakeOptions {
	return hibernate.WakeOptions{Cleanup: func() error { return nil }}
}

// listFiles returns the files in the directories of the instance.
func (b *fixture) listFiles(t *testing.T) []string {
	t.Helper()
	b.store.Close() // waits until all discarded images are deleted
	var names []string
	err := filepath.WalkDir(filepath.Join(b.dir, "Counter"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(b.dir, path)
			names = append(names, name)
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func TestCheckpointCommits(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	if diff := cmp.Diff([]string{"quiesce", "kill"}, b.tree.asked); diff != "" {
		t.Error(diff)
	}
	if image.Generation != 1 || image.Bytes != int64(len("core")+len("memory of the plugin")) {
		t.Errorf("image = %+v", image)
	}
	want := []string{"Counter/image/core-1.img", "Counter/image/manifest", "Counter/image/pages-1.img"}
	if diff := cmp.Diff(want, b.listFiles(t)); diff != "" {
		t.Error(diff)
	}
	again, err := b.imageDir.Image()
	if err != nil {
		t.Fatal(err)
	}
	if again.Generation != image.Generation || string(again.OwnerRecord()) != `{"socket":"s"}` {
		t.Errorf("read back %+v with record %s", again, again.OwnerRecord())
	}
	info, err := os.Stat(b.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the store has mode %v, %v", info.Mode(), err)
	}
}

func TestWakeUsesTheImageUp(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	b.mustWake(t, image)
	defer func() { _ = killAndWait(b.tree.root) }()
	if got := b.engine.Memory(b.tree.PID()); got != "memory of the plugin" {
		t.Errorf("woke with memory %q", got)
	}
	if procfs.IsStopped(b.tree.PID()) {
		t.Error("the woken tree is stopped")
	}
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("the used image is read with error %v, want %v", err, hibernate.ErrRefused)
	}
	if err := image.Discard(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("after Discard: %v, want %v", err, hibernate.ErrNoImage)
	}
	if diff := cmp.Diff([]string(nil), b.listFiles(t)); diff != "" {
		t.Error(diff)
	}
	if next := b.mustCheckpoint(t); next.Generation != 2 {
		t.Errorf("the next image has generation %d, want 2", next.Generation)
	}
}

// A tree that can't be dumped is refused before it is made quiet.
func TestCheckpointMeetsAnObstacle(t *testing.T) {
	b := newFixture(t)
	b.engine.AnyTimeObstacle = hibernate.ErrObstacle
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrObstacle) {
		t.Errorf("error %v, want %v", err, hibernate.ErrObstacle)
	}
	if len(b.tree.asked) != 0 || len(b.listFiles(t)) != 0 {
		t.Errorf("the tree was asked to %v, files left: %v", b.tree.asked, b.listFiles(t))
	}
}

// A checkpoint that fails at any step leaves the tree running and no file.
func TestCheckpointFails(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		prepare func(*fixture)
		expired bool
		want    error
	}{
		"quiesce":     {prepare: func(b *fixture) { b.tree.quiesceErr = broken }, want: broken},
		"losses":      {prepare: func(b *fixture) { b.engine.StoppedObstacle = broken }, want: broken},
		"connections": {prepare: func(b *fixture) { b.engine.QuietObstacle = broken }, want: broken},
		"dump":        {prepare: func(b *fixture) { b.engine.DumpError = broken }, want: broken},
		"an obstacle that came late": {
			prepare: func(b *fixture) { b.engine.BeforeDump = func() { b.engine.AnyTimeObstacle = broken } },
			want:    broken,
		},
		"connections during the dump": {
			prepare: func(b *fixture) { b.engine.BeforeDump = func() { b.engine.QuietObstacle = broken } },
			want:    broken,
		},
		"an unreadable file": {
			prepare: func(b *fixture) {
				b.engine.BeforeDump = func() {
					drafts, _ := filepath.Glob(filepath.Join(b.dir, "Counter", "draft-*"))
					_ = os.Symlink("/dev/zero", filepath.Join(drafts[0], "device"))
				}
			},
		},
		"deadline": {
			expired: true,
			want:    context.Canceled,
		},
		"the directory can't be committed to": {
			prepare: func(b *fixture) {
				// A directory that is not empty can't be renamed over.
				_ = os.MkdirAll(filepath.Join(b.dir, "Counter", "image", "x"), 0o700)
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			if test.prepare != nil {
				test.prepare(b)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.expired {
				cancel()
			}
			_, err := hibernate.Checkpoint(ctx, b.engine, b.imageDir, b.tree)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if diff := cmp.Diff([]string{"quiesce", "revive"}, b.tree.asked); diff != "" {
				t.Error(diff)
			}
			if procfs.IsStopped(b.tree.PID()) || procfs.HasEnded(b.tree.PID()) {
				t.Error("the tree does not run")
			}
			if left := b.listFiles(t); len(left) != 0 {
				t.Errorf("left on disk: %v", left)
			}
		})
	}
}

func TestCheckpointKeepsStoppedProcessesStopped(t *testing.T) {
	b := newFixture(t)
	if err := hibernatetest.StopProcess(b.tree.PID()); err != nil {
		t.Fatal(err)
	}
	b.mustWake(t, b.mustCheckpoint(t))
	defer func() { _ = killAndWait(b.tree.root) }()
	if !procfs.IsStopped(b.tree.PID()) {
		t.Error("a tree that slept while stopped woke up running")
	}
}

func TestImageIsRefused(t *testing.T) {
	const image, pages = "Counter/image/", "Counter/image/pages-1.img"
	tests := map[string]struct {
		damage func(b *fixture) error
		want   string
	}{
		"flipped byte of memory":   {func(b *fixture) error { return b.changeFile(pages, flipBit) }, "pages-1.img is damaged"},
		"flipped byte of metadata": {func(b *fixture) error { return b.changeFile(image+"core-1.img", flipBit) }, "core-1.img is damaged"},
		"shortened": {
			func(b *fixture) error { return b.changeFile(pages, func(d []byte) []byte { return d[:5] }) },
			"pages-1.img has 5 bytes, not 20",
		},
		"lengthened": {
			func(b *fixture) error { return b.changeFile(pages, func(d []byte) []byte { return append(d, 0) }) },
			"pages-1.img has 21 bytes, not 20",
		},
		"a file is gone":  {func(b *fixture) error { return os.Remove(b.path(pages)) }, "pages-1.img is missing"},
		"a file too many": {func(b *fixture) error { return os.WriteFile(b.path(pages+"x"), nil, 0o600) }, "pages-1.imgx does not belong to it"},
		"a link in the place of a file": {
			func(b *fixture) error {
				return errors.Join(os.Rename(b.path(pages), b.path("elsewhere")), os.Symlink(b.path("elsewhere"), b.path(pages)))
			},
			"pages-1.img is not a regular file",
		},
		"changed manifest": {
			func(b *fixture) error {
				return b.changeFile(image+"manifest", func(d []byte) []byte {
					return []byte(strings.Replace(string(d), `"generation":1`, `"generation":2`, 1))
				})
			},
			"was not written by this host, or changed since",
		},
		"cut manifest": {
			func(b *fixture) error {
				return b.changeFile(image+"manifest", func(d []byte) []byte { return d[:len(d)/2] })
			},
			"manifest is damaged",
		},
		"a named pipe in the place of the manifest": {
			func(b *fixture) error {
				return errors.Join(os.Remove(b.path(image+"manifest")), unix.Mkfifo(b.path(image+"manifest"), 0o600))
			},
			"it is not a regular file",
		},
		"no manifest": {func(b *fixture) error { return os.Remove(b.path(image + "manifest")) }, "it has no manifest"},
		"another host's": {
			func(b *fixture) error {
				err := os.Remove(b.path(".key"))
				other, oerr := hibernate.OpenStore(b.dir)
				b.imageDir = other.ImageDir("Counter")
				return errors.Join(err, oerr)
			},
			"was not written by this host",
		},
		"another instance's": {
			func(b *fixture) error {
				b.imageDir = b.store.ImageDir("Other")
				return os.Rename(b.path("Counter"), b.path("Other"))
			},
			"it belongs to Counter",
		},
		"more privileges": {
			func(b *fixture) error {
				b.engine.MoreRights = true
				return nil
			},
			"thread 1 was restored with other rights",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			b.mustCheckpoint(t)
			must(t, test.damage(b))
			image, err := b.imageDir.Image()
			if err == nil {
				_, err = image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup())
			}
			if !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %v with %q", err, hibernate.ErrRefused, test.want)
			}
			_, err = b.imageDir.Quarantine()
			must(t, err)
			if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
				t.Errorf("after Refuse: %v, want %v", err, hibernate.ErrNoImage)
			}
		})
	}
}

// An image that another engine has made is good: the same engine may come back.
func TestOtherEngineIsALastingCause(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	b.engine.Version = "2"
	_, err := image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup())
	if hibernate.ClassifyFailure(err) != hibernate.Lasting || !strings.Contains(err.Error(), "it was made by fake 1, installed is fake 2") {
		t.Errorf("got %v", err)
	}
	b.engine.Version = "1"
	b.mustWake(t, image)
	must(t, killAndWait(b.tree.root))
}

func TestReplayedImageIsRefused(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	at, saved := filepath.Join(b.dir, "Counter", "image"), filepath.Join(b.dir, "saved")
	must(t, os.CopyFS(saved, os.DirFS(at)))
	b.mustWake(t, image)
	must(t, image.Discard())
	replay := func() {
		t.Helper()
		must(t, os.RemoveAll(at))
		must(t, os.CopyFS(at, os.DirFS(saved)))
		if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrRefused) {
			t.Errorf("the replayed image is read with error %v, want %v", err, hibernate.ErrRefused)
		}
	}
	replay()
	must(t, os.RemoveAll(at))
	b.mustCheckpoint(t)
	replay()
	// Without the file that says which generation was used, an old image must not pass for a new one.
	must(t, os.RemoveAll(at))
	_, err := b.imageDir.Quarantine()
	must(t, err)
	b.tree = &tree{root: b.engine.StartProcess(t, "x")}
	b.mustCheckpoint(t)
	b.store.Close()
	must(t, os.Remove(filepath.Join(b.dir, ".used", "of-Counter")))
	if _, err := openStore(t, b.dir).ImageDir("Counter").Image(); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("without the record of its generations the image is read with error %v, want %v", err, hibernate.ErrRefused)
	}
}

// A restore is tried twice, and failed attempts do not use the image up.
func TestRestoreFails(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	b.engine.RestoreError = errors.New("broken")
	cleanups := 0
	_, err := image.Restore(t.Context(), b.engine, hibernate.WakeOptions{Cleanup: func() error { cleanups++; return nil }})
	if !errors.Is(err, b.engine.RestoreError) || errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("error %v, want %v", err, b.engine.RestoreError)
	}
	if b.engine.RestoreCount() != 2 || cleanups != 2 {
		t.Errorf("%d attempts with %d cleanups, want 2 with 2", b.engine.RestoreCount(), cleanups)
	}
	b.engine.RestoreError = nil
	b.mustWake(t, image)
	must(t, killAndWait(b.tree.root))
}

func TestOpenStoreRemovesWhatIsUnfinished(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"draft-1", "trash-2"} {
		must(t, os.MkdirAll(filepath.Join(dir, "Counter", name, "x"), 0o700))
	}
	openStore(t, dir)
	entries, err := os.ReadDir(filepath.Join(dir, "Counter"))
	must(t, err)
	if len(entries) != 0 {
		t.Errorf("left: %v", entries)
	}
}

func TestOpenStoreRefusesABadKey(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, ".key"), []byte("short"), 0o600))
	if _, err := hibernate.OpenStore(dir); err == nil || !strings.Contains(err.Error(), "has 5 bytes, not 32") {
		t.Errorf("error %v", err)
	}
}

func TestDraftBytes(t *testing.T) {
	b := newFixture(t)
	var during int64
	b.engine.BeforeDump = func() {
		drafts, _ := filepath.Glob(filepath.Join(b.dir, "Counter", "draft-*"))
		_ = os.WriteFile(filepath.Join(drafts[0], "a"), make([]byte, 100), 0o600)
		during = b.imageDir.DraftBytes()
	}
	b.mustCheckpoint(t)
	if during != 100 || b.imageDir.DraftBytes() != 0 {
		t.Errorf("DraftBytes() = %d during and %d after, want 100 and 0", during, b.imageDir.DraftBytes())
	}
}

// path returns the path of a file of the store.
func (b *fixture) path(name string) string { return filepath.Join(b.dir, name) }

func (b *fixture) changeFile(name string, change func([]byte) []byte) error {
	data, err := os.ReadFile(b.path(name))
	if err != nil {
		return err
	}
	return os.WriteFile(b.path(name), change(slices.Clone(data)), 0o600)
}

func flipBit(data []byte) []byte {
	data[len(data)/2] ^= 1
	return data
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A checkpoint or restore with an engine that does not work here changes nothing.
func TestUnsupportedEngine(t *testing.T) {
	b := newFixture(t)
	b.engine.Unsupported = errors.New("no such system call")
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("checkpoint: %v", err)
	}
	if len(b.tree.asked) > 0 {
		t.Errorf("the tree was asked to %v", b.tree.asked)
	}
	b.engine.Unsupported = nil
	image := b.mustCheckpoint(t)
	b.engine.Unsupported = errors.New("no such system call")
	if _, err := image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup()); !errors.Is(err, hibernate.ErrUnsupported) {
		t.Errorf("restore: %v", err)
	}
	b.engine.Unsupported = nil
	b.mustWake(t, image)
	must(t, killAndWait(b.tree.root))
}
