package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"dormouse/configs"
	"dormouse/hibernate"
)

// A packed image is the same to the plugin, however it is woken.
func TestPackedImages(t *testing.T) {
	needCRIU(t)
	key := bytes.Repeat([]byte{7}, 32)
	for name, packing := range map[string]hibernate.Packing{
		"encrypted":                {Key: key, Encrypt: true},
		"compressed":               {Compress: true},
		"compressed and encrypted": {Key: key, Encrypt: true, Compress: true},
	} {
		for _, wake := range []configs.WakeMode{configs.WakeLazy, configs.WakeEager} {
			t.Run(fmt.Sprintf("%s, %s", name, wake), func(t *testing.T) {
				c := counter()
				c.Wake = wake
				r := newRig(t, c)
				r.host.Images.Pack(packing)
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

// What a plugin holds, such as the path of its socket, is nowhere to be found on the
// disk. (The manifest is no secret.)
func TestEncryptedImageTellsNothing(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	for _, encrypt := range []bool{false, true} {
		r.host.Images.Pack(hibernate.Packing{Key: bytes.Repeat([]byte{7}, 32), Encrypt: encrypt})
		r.activate()
		r.hibernate()
		err := exec.CommandContext(t.Context(), "grep", "-rqaF", "--exclude=manifest", r.runDir(), r.dir+"/images").Run()
		if found := err == nil; found == encrypt {
			t.Errorf("encrypted: %v, found in the clear: %v", encrypt, found)
		}
		if err := r.Drop(context.Background()); err != nil {
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
	r.host.Images.Pack(hibernate.Packing{Key: bytes.Repeat([]byte{7}, 32), Encrypt: true})
	r.activate()
	call[any](r, "increment", "")
	r.hibernate()
	h := r.host
	h.Images.Pack(hibernate.Packing{Key: bytes.Repeat([]byte{8}, 32), Encrypt: true})
	r.use(h)
	if image := r.Image(); image == nil || !errors.Is(image.Locked(), hibernate.ErrKey) {
		t.Fatalf("got the image %+v", image)
	}
	h.Images.Pack(hibernate.Packing{Key: bytes.Repeat([]byte{7}, 32)})
	r.use(h)
	r.wake()
	if got := r.count(); got != 42 {
		t.Errorf("it counts from %d", got)
	}
}
