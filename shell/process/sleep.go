package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/failpoint"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// record is what a later wake must know beside the image.
type record struct {
	Socket      string   `json:"socket"`
	Pipes       pipeKeys `json:"pipes"`
	Program     int      `json:"program"` // PID in its own namespace
	Information []byte   `json:"information"`
	Bound       bool     `json:"bound"` // the kernel ends the tree with its host, also after a wake
}

// recordOf reads it, and in it what the plugin said of itself.
func recordOf(image *hibernate.Image) (r record, info *shellpb.InformationResponse, err error) {
	info = &shellpb.InformationResponse{}
	if err = json.Unmarshal(image.Record(), &r); err == nil {
		err = proto.Unmarshal(r.Information, info)
	}
	return r, info, err
}

// checkpoint turns the plugin's tree into an image.
func (b *Backend) checkpoint(ctx context.Context) error {
	if err := b.host.Engine.Check(ctx); err != nil {
		return fmt.Errorf("cannot hibernate: %w: %w", shell.ErrNotSupported, err)
	}
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if err := t.loaded(ctx); err != nil { // a dump would lack the rest
		return fmt.Errorf("cannot hibernate: %w", err)
	}
	image, err := hibernate.Checkpoint(ctx, b.host.Engine, b.slot, sleeper{b, t})
	if err != nil {
		return err
	}
	failpoint.Hit("hibernate.killed")
	b.mu.Lock()
	b.image, b.tree = image, nil
	b.mu.Unlock()
	b.forget()
	return nil
}

// Wake restores the image, or lets what sleeps in place run on, see
// shell.Hibernator.
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
	if err := b.host.Engine.Check(ctx); err != nil {
		return errors.Join(err, b.slot.Refuse())
	}
	r, info, err := recordOf(image)
	if err != nil {
		return errors.Join(err, b.slot.Refuse())
	}
	t, err := b.restore(ctx, image, r)
	if err != nil {
		return errors.Join(err, b.slot.Refuse())
	}
	b.mu.Lock()
	b.info, b.socket = info, r.Socket
	b.mu.Unlock()
	failpoint.Hit("wake.restored")
	err = b.reconnect(ctx, t, r.Socket, image.Generation, time.Since(image.Created))
	failpoint.Hit("wake.connected")
	if derr := image.Discard(); derr != nil {
		b.log.Warn().Err(derr).Msg("could not remove an image that is no longer needed")
	}
	return err
}

// restore brings the tree back, with new log pipes in the place of the old.
func (b *Backend) restore(ctx context.Context, image *hibernate.Image, r record) (*tree, error) {
	if err := os.MkdirAll(b.volatileDir(), 0o700); err != nil { // a reboot may have emptied it
		return nil, err
	}
	err := b.begin(instance{
		Phase: waking, Bound: r.Bound, Number: r.Program, Socket: r.Socket, Information: r.Information,
		Generation: image.Generation, Reason: b.reason,
	})
	if err != nil {
		return nil, err
	}
	failpoint.Hit("wake.begun")
	return b.grow(func(t *tree) error {
		t.bound = r.Bound
		root, loading, err := b.bringBack(ctx, image, hibernate.Wake{
			Cgroup:  t.cgroup(),
			Files:   t.logs.inherited(r.Pipes),
			Cleanup: t.killLeft,
		})
		if err == nil {
			t.adopt(root, r.Program, loading)
		}
		return err
	})
}

// lazyFrom is the image's size from which a lazy wake is worth its while.
const lazyFrom = 32 << 20

// bringBack restores the image, before its memory if that is wanted and possible.
// A tree that may outlive its host needs all of it at once: there would be nobody
// to bring the rest.
func (b *Backend) bringBack(ctx context.Context, image *hibernate.Image, w hibernate.Wake) (*os.Process, hibernate.Loading, error) {
	wanted := b.config.Wake == configs.WakeLazy || b.config.Wake == configs.WakeAuto && image.Bytes >= lazyFrom
	if engine, can := b.host.Engine.(hibernate.LazyEngine); wanted && can && !b.host.Adopt {
		root, loading, err := image.RestoreLazy(ctx, engine, w)
		if !errors.Is(err, hibernate.ErrUnsupported) {
			return root, loading, err
		}
		b.log.Debug().Err(err).Msg("all memory is read before the wake")
	}
	root, err := image.Restore(ctx, b.host.Engine, w)
	return root, nil, err
}

// reconnect dials the plugin after a sleep, or after one that came to nothing.
func (b *Backend) reconnect(ctx context.Context, t *tree, socket string, generation uint64, slept time.Duration) error {
	if err := b.attach(ctx, t, socket); err != nil {
		return err
	}
	if b.hasHooks() {
		_, err := b.hooks.AfterRestore(ctx, &shellpb.AfterRestoreRequest{Generation: generation, Slept: durationpb.New(slept)})
		if err != nil {
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

// Drop gives the image up, see shell.Hibernator.
func (b *Backend) Drop(ctx context.Context) error {
	b.mu.Lock()
	image := b.image
	b.image = nil
	b.mu.Unlock()
	switch {
	case image == nil:
		return hibernate.ErrNoImage
	case image.InPlace:
		return b.Stop(ctx)
	}
	return errors.Join(image.Drop(), b.Stop(ctx))
}

// Image is the committed image, see shell.Hibernator.
func (b *Backend) Image() *hibernate.Image {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.image
}

// Progress compares what is written or loaded with what there is, see
// shell.Hibernator.
func (b *Backend) Progress() shell.Progress {
	b.mu.Lock()
	t, image := b.tree, b.image
	b.mu.Unlock()
	switch {
	case image != nil && t != nil:
		return shell.Progress{Done: min(procfs.RSS(t.pids()), image.Bytes), Total: image.Bytes}
	case image != nil:
		return shell.Progress{Done: min(procfs.RSS(b.host.Cgroups.members(b.place)), image.Bytes), Total: image.Bytes}
	case t != nil:
		return shell.Progress{Done: b.slot.Written(), Total: procfs.PSS(t.pids())}
	}
	return shell.Progress{}
}

func (b *Backend) hasHooks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.serves(shellpb.HooksService)
}

// sleeper is the running tree as a checkpoint sees it.
type sleeper struct {
	b *Backend
	t *tree
}

var _ hibernate.Tree = sleeper{}

func (s sleeper) PID() int       { return s.t.root.Pid }
func (s sleeper) Cgroup() string { return s.t.cgroup() }

// Quiesce runs the plugin's hook and cuts the connections, to it and from it.
func (s sleeper) Quiesce(ctx context.Context) error {
	if err := s.b.enter(s.t, hibernating); err != nil {
		return err
	}
	if s.b.hasHooks() {
		if _, err := s.b.hooks.BeforeCheckpoint(ctx, &shellpb.BeforeCheckpointRequest{}); err != nil {
			return fmt.Errorf("the plugin's BeforeCheckpoint failed: %w", s.b.explain(fromStatus(err)))
		}
	}
	if err := s.b.closeHostSocket(ctx, partingLimit); err != nil {
		return err
	}
	return s.b.disconnect(ctx)
}

// Revive connects to the plugin again. A plugin that can't be reached any more
// is ended: it must not be taken for an active one.
func (s sleeper) Revive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.b.config.CallTimeout))
	defer cancel()
	if s.t.ended() {
		return s.t.exitError()
	}
	err := s.b.disconnect(ctx)
	if err == nil {
		s.b.mu.Lock()
		socket := s.b.socket
		s.b.mu.Unlock()
		err = s.b.reconnect(ctx, s.t, socket, 0, 0)
	}
	if err == nil {
		err = s.b.enter(s.t, running)
	}
	if err != nil && !s.t.ended() {
		s.t.expectEnd()
		s.t.kill()
		err = fmt.Errorf("%w: the host ended it, since it did not come back from the attempt: %w", shell.ErrExited, err)
	}
	return err
}

// Kill ends the tree, whose image is the truth now.
func (s sleeper) Kill(context.Context) {
	if err := s.t.end(); err != nil {
		s.b.log.Warn().Err(err).Msg("a hibernated plugin left something behind")
	}
}

// Record says how to find the plugin again.
func (s sleeper) Record() (any, error) {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	info, err := proto.Marshal(s.b.info)
	if err != nil {
		return nil, err
	}
	return record{Socket: s.b.socket, Pipes: s.t.logs.keys(), Program: s.t.number, Information: info, Bound: s.t.bound}, nil
}
