package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/failpoint"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
)

// record is what a later wake must know beside the image.
type record struct {
	Socket      string      `json:"socket"`
	Pipes       output.Keys `json:"pipes"`
	Program     int         `json:"program"` // PID in its own namespace
	Information []byte      `json:"information"`
	Bound       bool        `json:"bound"` // the kernel ends the tree with its host, also after a wake
	// Origin is what a golden image was made from, nil in any other.
	Origin *origin `json:"origin,omitempty"`
}

func recordOf(image *hibernate.Image) (r record, err error) {
	err = json.Unmarshal(image.Record(), &r)
	return r, err
}

// information is what the plugin said of itself.
func (r record) information() (*shellpb.InformationResponse, error) {
	info := &shellpb.InformationResponse{}
	return info, proto.Unmarshal(r.Information, info)
}

// PrepareWake makes sure that there is the key and the room to begin a wake, and that it is
// known whether the engine works, see shell.Process.
func (b *Backend) PrepareWake(ctx context.Context) error {
	image := b.currentImage()
	if err := image.CheckKey(); err != nil || image == nil || image.InPlace {
		return err
	}
	if err := b.host.Engine.Check(ctx); err != nil && ctx.Err() != nil {
		return err // it was not found out in time
	}
	r, _ := recordOf(image) // the wake says if that can't be read
	return b.beginRestore(image, r, waking)
}

// beginRestore writes down that a life begins from the image.
func (b *Backend) beginRestore(image *hibernate.Image, r record, p phase) error {
	if err := os.MkdirAll(b.volatileDir(), 0o700); err != nil { // a reboot may have emptied it
		return err
	}
	return b.begin(instance{
		Phase: p, Bound: r.Bound, Number: r.Program, Socket: r.Socket, Information: r.Information,
		Generation: image.Generation, Reason: b.reason,
	})
}

// Wake restores the image, or lets what sleeps in place run on, see
// shell.Process.
func (b *Backend) Wake(ctx context.Context) (shell.Information, error) {
	b.mu.Lock()
	image, t := b.image, b.tree
	b.mu.Unlock()
	var err error
	if image.InPlace {
		err = b.rouse(t)
	} else {
		err = b.wake(ctx, image)
	}
	b.mu.Lock()
	b.image = nil
	b.mu.Unlock()
	if err != nil {
		return shell.Information{}, err
	}
	return b.information(), nil
}

func (b *Backend) wake(ctx context.Context, image *hibernate.Image) error {
	r, err := recordOf(image)
	if err != nil {
		return errors.Join(err, b.imageDir.Quarantine())
	}
	t, err := b.restore(ctx, image, r, waking)
	if err != nil {
		return errors.Join(err, b.imageDir.Quarantine())
	}
	failpoint.Hit("wake.restored")
	err = b.reconnect(ctx, t, r.Socket, wokenFrom(image))
	failpoint.Hit("wake.connected")
	if derr := image.Discard(); derr != nil {
		b.log.Warn().Err(derr).Msg("could not remove an image that is no longer needed")
	}
	return err
}

// wokenFrom is what a plugin is told when it is restored from the image.
func wokenFrom(image *hibernate.Image) *shellpb.AfterRestoreRequest {
	return &shellpb.AfterRestoreRequest{Generation: image.Generation, Slept: durationpb.New(image.Age())}
}

// restore brings the tree back, with new log pipes in the place of the old. The next
// host would find it in that phase.
func (b *Backend) restore(ctx context.Context, image *hibernate.Image, r record, p phase) (*tree, error) {
	info, err := r.information()
	if err != nil {
		return nil, err
	}
	if err := b.beginRestore(image, r, p); err != nil {
		return nil, err
	}
	failpoint.Hit("wake.begun")
	t, err := b.grow(func(t *tree) error {
		t.bound = r.Bound
		root, loading, err := b.bringBack(ctx, image, hibernate.WakeOptions{
			Cgroup:  t.cgroup(),
			Files:   t.inherited(r.Pipes),
			Cleanup: t.killLeft,
			Lasting: b.lasting(r.Bound),
		})
		if err == nil {
			t.adopt(root, r.Program, loading)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	b.info, b.socket = info, r.Socket
	b.mu.Unlock()
	return t, nil
}

// lazyFrom is the image's size from which a lazy wake is worth its while.
const lazyFrom = 32 << 20

// bringBack restores the image, before its memory if that is wanted and possible.
func (b *Backend) bringBack(ctx context.Context, image *hibernate.Image, w hibernate.WakeOptions) (*os.Process, hibernate.Loading, error) {
	mode := b.config().Wake
	wanted := mode == configs.WakeLazy || mode == configs.WakeAuto && image.Bytes >= lazyFrom
	if wanted {
		if w.Lasting != "" {
			if err := os.MkdirAll(w.Lasting, 0o700); err != nil {
				return nil, nil, err
			}
		}
		root, loading, err := image.RestoreLazy(ctx, b.host.Engine, w)
		if !errors.Is(err, hibernate.ErrUnsupported) {
			return root, loading, err
		}
		b.log.Debug().Err(err).Msg("all memory is read before the wake")
	}
	root, err := image.Restore(ctx, b.host.Engine, w)
	return root, nil, err
}

// loadingName is where in an instance's run directory a loading is found that
// outlives its host.
const loadingName = "loading"

// lasting is that directory, "" for a tree that does not outlive the host.
func (b *Backend) lasting(bound bool) string {
	if bound || !b.host.Adopt {
		return ""
	}
	return filepath.Join(b.runDir(), loadingName)
}

// reconnect dials the plugin after a sleep, or after one that came to nothing.
func (b *Backend) reconnect(ctx context.Context, t *tree, socket string, told *shellpb.AfterRestoreRequest) error {
	if err := b.attach(ctx, t, socket); err != nil {
		return err
	}
	if b.hasHooks() {
		if _, err := b.hooks.AfterRestore(ctx, told); err != nil {
			return fmt.Errorf("the plugin's AfterRestore failed: %w", b.explain(fromStatus(err)))
		}
	}
	b.follow()
	return nil
}

// attach connects to a plugin that has been initialized before.
func (b *Backend) attach(ctx context.Context, t *tree, socket string) error {
	if err := b.connect(ctx, t, socket); err != nil {
		return b.explain(err)
	}
	return b.openHostSocket(t)
}

func (s sleeper) record() (record, error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	info, err := proto.Marshal(s.b.info)
	return record{Socket: s.b.socket, Pipes: s.t.output.Keys(), Program: s.t.number, Information: info, Bound: s.t.bound}, err
}
