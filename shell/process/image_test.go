package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
)

// newSleepingRig returns a rig whose counter, at 42, sleeps, and the directory of its
// image.
func newSleepingRig(t *testing.T) (*rig, string) {
	t.Helper()
	needCRIU(t)
	c := counter()
	c.Executable = filepath.Join(t.TempDir(), "counter")
	if err := copyProgram(c.Executable, filepath.Join(bin, "counter")); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, c)
	r.activate()
	call[any](r, "increment", "")
	r.hibernate()
	return r, filepath.Join(r.dir, "images", "Counter", "image")
}

// putAside takes the image, whose wake failed with err, out of use, as the shell does.
func (r *rig) putAside(err error) {
	r.t.Helper()
	if r.Sleep() == nil {
		r.t.Error("the failed wake has taken the image")
	}
	kept, perr := r.PutImageAside(hibernate.ClassifyFailure(err))
	if perr != nil || kept.Path == "" || kept.Until.IsZero() {
		r.t.Errorf("it is kept as %+v, %v", kept, perr)
	}
}

// checkOutOfUse fails the test unless err has that class and reason, and the image is kept
// as the class says but no host wakes it.
func (r *rig) checkOutOfUse(err error, class hibernate.FailureClass, reason string) {
	r.t.Helper()
	if got := hibernate.ClassifyFailure(err); got != class || !strings.Contains(err.Error(), reason) {
		r.t.Errorf("got %v, which is %s; want %s and %q", err, got, class, reason)
	}
	if r.Sleep() != nil {
		r.t.Error("it still has the image")
	}
	want := []string{"refused", "refused.unusable"}
	if class == hibernate.Lasting {
		want = []string{"aside-1", "aside-1.unusable"}
	}
	if !cmp.Equal(r.imageFiles(), want) {
		r.t.Errorf("in the image store are %v, want %v", r.imageFiles(), want)
	}
	if pids := r.pids(); len(pids) > 0 {
		r.t.Errorf("it runs as %v", pids)
	}
	r.useHost(r.host)
	if r.Sleep() != nil {
		r.t.Error("the next host takes it")
	}
	r.activate() // cold
	if got := r.count(); got != 41 {
		r.t.Errorf("it counts from %d", got)
	}
}

func TestImageIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, r *rig, image string)
		want  string
		class hibernate.FailureClass
	}{
		"damaged page": {func(t *testing.T, _ *rig, image string) {
			t.Helper()
			flipByte(t, filepath.Join(image, "pages-1.img"), 4096)
		}, "pages-1.img is damaged", hibernate.Untrusted},
		"damaged core": {func(t *testing.T, _ *rig, image string) {
			t.Helper()
			flipByte(t, filepath.Join(image, "core-1.img"), 100)
		}, "core-1.img is damaged", hibernate.Untrusted},
		"cut pages": {func(t *testing.T, _ *rig, image string) {
			t.Helper()
			if err := os.Truncate(filepath.Join(image, "pages-1.img"), 8192); err != nil {
				t.Fatal(err)
			}
		}, "pages-1.img has 8192 bytes", hibernate.Untrusted},
		"missing file": {func(t *testing.T, _ *rig, image string) {
			t.Helper()
			if err := os.Remove(filepath.Join(image, "inventory.img")); err != nil {
				t.Fatal(err)
			}
		}, "inventory.img is missing", hibernate.Untrusted},
		"other program": {func(t *testing.T, r *rig, _ string) {
			t.Helper()
			flipByte(t, r.config.Executable, 4096)
		}, "counter was replaced or changed", hibernate.Lasting},
		"no program": {func(t *testing.T, r *rig, _ string) {
			t.Helper()
			if err := os.Rename(r.config.Executable, r.config.Executable+".old"); err != nil {
				t.Fatal(err)
			}
			r.config.Executable += ".old"
		}, "no such file", hibernate.Lasting},
	} {
		t.Run(name, func(t *testing.T) {
			r, image := newSleepingRig(t)
			test.spoil(t, r, image)
			_, err := r.Wake(r.contextFor(patience))
			r.putAside(err)
			r.checkOutOfUse(err, test.class, test.want)
		})
	}
}

// What a host finds at its start and can't trust is put aside before anybody
// could wake it.
func TestImageIsRefusedAtStart(t *testing.T) {
	t.Run("foreign", func(t *testing.T) {
		r, _ := newSleepingRig(t)
		if err := os.Remove(filepath.Join(r.dir, "images", ".key")); err != nil {
			t.Fatal(err)
		}
		r.restart()
		r.checkOutOfUse(hibernate.ErrRefused, hibernate.Untrusted, "")
		r.log.await(t, "put an image aside", "not written by this host")
	})
	t.Run("replayed", func(t *testing.T) {
		r, image := newSleepingRig(t)
		if err := os.CopyFS(image+".copy", os.DirFS(image)); err != nil {
			t.Fatal(err)
		}
		r.wake()
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
		r.host.Images.Close()
		if err := os.Rename(image+".copy", image); err != nil {
			t.Fatal(err)
		}
		r.restart()
		r.checkOutOfUse(hibernate.ErrRefused, hibernate.Untrusted, "")
		r.log.await(t, "put an image aside", "generation 1 was woken already")
	})
	t.Run("another's", func(t *testing.T) {
		r, image := newSleepingRig(t)
		if err := os.Rename(filepath.Dir(image), filepath.Join(r.dir, "images", "Other")); err != nil {
			t.Fatal(err)
		}
		r.config.Callsign = "Other"
		r.restart()
		r.checkOutOfUse(hibernate.ErrRefused, hibernate.Untrusted, "")
		r.log.await(t, "put an image aside", "it belongs to Counter")
		if err := os.RemoveAll(filepath.Join(r.host.RunDir, "Counter")); err != nil {
			t.Error(err)
		}
	})
}

func TestWakeInTheNextHost(t *testing.T) {
	r, _ := newSleepingRig(t)
	r.restart()
	if image := r.Sleep(); image == nil || image.Generation != 1 {
		t.Fatalf("the image is %+v", image)
	}
	info, err := r.Wake(r.contextFor(patience))
	if err != nil {
		t.Fatal(err)
	}
	if info.Class != "counter" || info.StateControl == nil {
		t.Errorf("it says %+v", info)
	}
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
	r.hibernate()
	r.restart()
	r.wake()
	if got := r.count(); got != 42 {
		t.Errorf("after the second time it counts from %d", got)
	}
}

// restart opens everything anew, as a host does that starts again.
func (r *rig) restart() {
	r.t.Helper()
	r.host.Images.Close()
	images, err := hibernate.OpenStore(filepath.Join(r.dir, "images"))
	if err != nil {
		r.t.Fatal(err)
	}
	h := r.host
	h.Images = images
	r.useHost(h)
}

// flipByte changes one byte of a file and leaves its times.
func flipByte(t *testing.T, path string, at int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	if err == nil {
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Chtimes(path, time.Time{}, info.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The next host knows of a plugin that sleeps what that said, though the program
// is another by now.
func TestImageTellsOfItsPlugin(t *testing.T) {
	r, _ := newSleepingRig(t)
	want := r.information()
	if err := os.WriteFile(r.config.Executable+".new", []byte("#!/bin/false\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.config.Executable+".new", r.config.Executable); err != nil {
		t.Fatal(err)
	}
	h := r.host
	h.Programs = nil // and nobody has kept it
	r.useHost(h)
	got, known := r.KnownInformation()
	if got.StateControl, want.StateControl = nil, nil; !known || got.Class == "" || !cmp.Equal(got, want) {
		t.Errorf("it knows %+v, %t; the plugin said %+v", got, known, want)
	}
}

// untried is an engine of which nobody has found out in time whether it works.
type untried struct{ hibernate.Engine }

func (untried) Check(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// An image that can't be read when the host starts is neither lost nor forgotten: the plugin
// sleeps, and wakes once the image can be read.
func TestImageThatCannotBeReadAtStart(t *testing.T) {
	r, image := newSleepingRig(t)
	manifest := filepath.Join(image, "manifest")
	hide := func() {
		if err := errors.Join(os.Rename(manifest, manifest+".away"), os.Symlink(manifest, manifest)); err != nil {
			t.Fatal(err)
		}
	}
	show := func() {
		if err := os.Rename(manifest+".away", manifest); err != nil {
			t.Fatal(err)
		}
	}
	hide()
	r.restart()
	_, err := r.Wake(r.contextFor(patience))
	if r.Sleep() == nil || err == nil || hibernate.ClassifyFailure(err) != hibernate.Passing || len(r.sink.losses) > 0 {
		t.Errorf("it sleeps as %+v, the wake: %v, lost %v", r.Sleep(), err, r.sink.losses)
	}
	show()
	r.wake()
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
	r.hibernate()
	hide()
	r.restart()
	if err := r.EndWithoutWake(r.contextFor(patience)); err != nil || r.Sleep() != nil {
		t.Errorf("got %v, it sleeps as %+v", err, r.Sleep())
	}
	r.activate()
	if got := r.count(); got != 41 {
		t.Errorf("it counts from %d", got)
	}
}

// Until the engine has been tried the plugin sleeps on.
func TestWakeBeforeTheTrial(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	r.activate()
	r.hibernate()
	tried := r.host
	r.host.Engine = untried{tried.Engine}
	r.useHost(r.host)
	if _, err := r.Wake(r.contextFor(time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if r.Sleep() == nil {
		t.Error("it has no image any more")
	}
	r.useHost(tried)
	r.wake()
	if got := r.count(); got != 41 {
		t.Errorf("it counts from %d", got)
	}
}
