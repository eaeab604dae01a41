package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/hibernate/pack"
	"dormouse/shell"
)

// A packed image is the same to the plugin, however it is woken.
func TestPackedImages(t *testing.T) {
	needCRIU(t)
	key := bytes.Repeat([]byte{7}, 32)
	for name, packing := range map[string]pack.Options{
		"encrypted":                {Key: key, Encrypt: true},
		"compressed":               {Compress: true},
		"compressed and encrypted": {Key: key, Encrypt: true, Compress: true},
	} {
		for _, wake := range []configs.WakeMode{configs.WakeLazy, configs.WakeEager} {
			t.Run(fmt.Sprintf("%s, %s", name, wake), func(t *testing.T) {
				c := counter()
				c.Wake = wake
				r := newRig(t, c)
				r.host.Images.SetPacking(packing)
				r.activate()
				digest := call[struct{ SHA256 string }](r, "fill", `{"mib":20}`).SHA256
				for range 2 {
					r.hibernate()
					r.wake()
					if got := call[struct{ SHA256 string }](r, "digest", "").SHA256; got != digest {
						t.Errorf("its memory has digest %s, not %s", got, digest)
					}
				}
			})
		}
	}
}

// An eager wake of a packed image needs a loader too where plugins outlive the host.
func TestPackedImageOutlivesHost(t *testing.T) {
	needCRIU(t)
	c := counter()
	c.Wake = configs.WakeEager
	r := newRig(t, c)
	needCgroups(r)
	r.host.Adopt = true
	r.useHost(r.host)
	r.host.Images.SetPacking(pack.Options{Compress: true})
	r.activate()
	call[any](r, "increment", "")
	for range 2 {
		r.hibernate()
		r.wake()
		if got, loaders := r.count(), r.loaders(); got != 42 || len(loaders) != 0 {
			t.Errorf("it counts from %d, loaders are %v", got, loaders)
		}
	}
}

// interrupted is an engine that something happens to when the first memory is
// handed over.
type interrupted struct {
	hibernate.Engine
	happens func(d hibernate.DumpOrder)
}

func (e *interrupted) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	create := d.Pages
	d.Pages = func(name string) (io.WriteCloser, error) {
		w, err := create(name)
		if e.happens != nil {
			e.happens(d)
			e.happens = nil
		}
		return w, err
	}
	return e.Engine.Dump(ctx, d)
}

// RestoreLazy is unsupported: a lazy wake could still read the small disk when the test ends.
func (e *interrupted) RestoreLazy(ctx context.Context, o hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	return hibernatetest.EngineDefaults{}.RestoreLazy(ctx, o, m)
}

// Whatever comes between while the memory is packed, the plugin runs on, and the
// next attempt succeeds.
func TestPackedDumpFails(t *testing.T) {
	for name, test := range map[string]struct {
		happens func(r *rig, d hibernate.DumpOrder, cancel func())
		want    string
	}{
		"disk full": {func(r *rig, _ hibernate.DumpOrder, _ func()) {
			_ = os.WriteFile(r.dir+"/disk/other", make([]byte, 100<<20), 0o600) // as much as there is
		}, "no space left on device"},
		"given up":    {func(_ *rig, _ hibernate.DumpOrder, cancel func()) { cancel() }, "context canceled"},
		"CRIU killed": {func(_ *rig, d hibernate.DumpOrder, _ func()) { killCRIU(d.Cgroup) }, "cannot dump"},
	} {
		t.Run(name, func(t *testing.T) {
			needCRIU(t)
			r := newRig(t, counter())
			if name == "CRIU killed" {
				needCgroups(r)
			}
			r.mountSmallDisk("size=80m")
			ctx, cancel := context.WithCancel(r.contextFor(patience))
			defer cancel()
			h := r.host
			h.Images.SetPacking(pack.Options{Key: bytes.Repeat([]byte{7}, 32), Encrypt: true})
			h.Engine = &interrupted{engine, func(d hibernate.DumpOrder) { test.happens(r, d, cancel) }}
			r.useHost(h)
			r.activate()
			call[any](r, "increment", "")
			digest := call[struct{ SHA256 string }](r, "fill", `{"mib":50}`).SHA256
			err := r.Hibernate(ctx)
			if errors.Is(err, shell.ErrExited) {
				return // see TestCRIUKilledDuringDump
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something about %q", err, test.want)
			}
			r.checkUnharmed(digest)
			_ = os.Remove(r.dir + "/disk/other")
			r.hibernate()
			r.wake()
			r.host.Images.Close()
			r.checkUnharmed(digest)
		})
	}
}

// What a plugin holds, such as the path of its socket, is nowhere to be found on the
// disk. (The manifest is no secret.)
func TestEncryptedImageTellsNothing(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	for _, encrypt := range []bool{false, true} {
		r.host.Images.SetPacking(pack.Options{Key: bytes.Repeat([]byte{7}, 32), Encrypt: encrypt})
		r.activate()
		r.hibernate()
		err := exec.CommandContext(t.Context(), "grep", "-rqaF", "--exclude=manifest", r.runDir(), r.dir+"/images").Run()
		if found := err == nil; found == encrypt {
			t.Errorf("encrypted: %v, found in the clear: %v", encrypt, found)
		}
		if err := r.EndWithoutWake(context.Background()); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(r.dir + "/images/Counter/image"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a dropped image: %v", err)
		}
	}
}

// A host without the key has the instance sleep on.
func TestLockedImageIsKept(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	r.host.Images.SetPacking(pack.Options{Key: bytes.Repeat([]byte{7}, 32), Encrypt: true})
	r.activate()
	call[any](r, "increment", "")
	r.hibernate()
	h := r.host
	h.Images.SetPacking(pack.Options{Key: bytes.Repeat([]byte{8}, 32), Encrypt: true})
	r.useHost(h)
	if _, err := r.Wake(t.Context()); r.Sleep() == nil || !errors.Is(err, hibernate.ErrKey) {
		t.Fatalf("got the sleep %+v, %v", r.Sleep(), err)
	}
	h.Images.SetPacking(pack.Options{Key: bytes.Repeat([]byte{7}, 32)})
	r.useHost(h)
	r.wake()
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
}
