package process

import (
	"os"
	"path/filepath"
	"testing"

	"dormouse/configs"
	"dormouse/hibernate/pack"
	"dormouse/shell"
)

// storedImageBytes returns the size on disk of the instance's image, without its manifest.
func (r *rig) storedImageBytes() (total int64) {
	r.t.Helper()
	entries, err := os.ReadDir(filepath.Join(r.dir, "images", "Counter", "image"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			r.t.Fatal(err)
		}
		if entry.Name() != "manifest" {
			total += info.Size()
		}
	}
	return total
}

// A wake tells how much of the image was read from disk: an eager one all of it, a lazy one
// what its plugin has needed so far, and in the end all.
func TestImageRead(t *testing.T) {
	needCRIU(t)
	key := make([]byte, 32)
	for name, test := range map[string]struct {
		wake    configs.WakeMode
		packing pack.Options
		adopt   bool // a process of its own loads the memory
	}{
		"eager":                   {wake: configs.WakeEager},
		"eager, compressed":       {wake: configs.WakeEager, packing: pack.Options{Compress: true}},
		"lazy":                    {wake: configs.WakeLazy},
		"lazy, compressed":        {wake: configs.WakeLazy, packing: pack.Options{Compress: true}},
		"lazy, encrypted":         {wake: configs.WakeLazy, packing: pack.Options{Key: key, Encrypt: true, Compress: true}},
		"lazy, by a loader":       {wake: configs.WakeLazy, adopt: true},
		"lazy, packed, by loader": {wake: configs.WakeLazy, adopt: true, packing: pack.Options{Compress: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := counter()
			c.Wake = test.wake
			r := newRig(t, c)
			r.host.Images.SetPacking(test.packing)
			if test.adopt {
				needCgroups(r)
				r.host.Adopt = true
				r.useHost(r.host)
			}
			r.activate()
			call[any](r, "fill", `{"mib":100}`)
			if got := r.ProcessFigures().ImageRead; got != 0 {
				t.Errorf("before any sleep %d bytes were read", got)
			}
			early := false
			for attempt := 0; attempt < 5 && !early; attempt++ {
				r.hibernate()
				size := r.storedImageBytes()
				if got := r.Sleep().Bytes; got != size {
					t.Errorf("the image has %d bytes on disk, it says %d", size, got)
				}
				r.wake()
				woken := r.ProcessFigures()
				early = woken.Loading.Done < woken.Loading.Total/2
				switch {
				case test.wake == configs.WakeEager:
					if woken.ImageRead != size || woken.Loading != (shell.Progress{}) {
						t.Errorf("an eager wake has read %d of %d bytes", woken.ImageRead, size)
					}
					return
				case early && (woken.ImageRead >= size*9/10 || woken.ImageRead == 0):
					t.Errorf("with %+v loaded, %d of %d bytes were read", woken.Loading, woken.ImageRead, size)
				}
				r.awaitLoaded()
				if got := r.ProcessFigures().ImageRead; got > size || got < size*9/10 {
					t.Errorf("in the end %d of %d bytes were read", got, size)
				}
			}
			if !early {
				t.Error("all was loaded each time")
			}
		})
	}
}
