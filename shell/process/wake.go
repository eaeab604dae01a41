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

// imageNote holds what a wake needs beside the files of the image. The image's manifest
// contains it.
type imageNote struct {
	Socket       string            `json:"socket"`
	Output       output.EngineKeys `json:"pipes"`
	ProgramNSPid int               `json:"program"`     // PID of the program in the tree's namespace
	Information  []byte            `json:"information"` // a shellpb.InformationResponse
	Bound        bool              `json:"bound"`       // the kernel kills the tree with the host, also after a wake
	// Configuration is the checksum of what the plugin was started with, "" in the images of
	// hosts that did not note it.
	Configuration string `json:"configuration,omitempty"`
	// Limits are those that the plugin was started with, which it has until it ends.
	Limits configs.Limits `json:"limits,omitzero"`
	// Places are the directories that the plugin knows, empty in the images of hosts that did
	// not note them.
	Places places `json:"places,omitzero"`
	// WarmKey identifies the files and settings that a golden image depends on; nil in
	// other images.
	WarmKey *warmKey `json:"origin,omitempty"`
}

// decodeImageNote decodes the note in the image's manifest.
func decodeImageNote(image *hibernate.Image) (n imageNote, err error) {
	err = json.Unmarshal(image.OwnerRecord(), &n)
	return n, err
}

// parseInformation returns the plugin's description of itself from a note or a journal.
func parseInformation(raw []byte) (*shellpb.InformationResponse, error) {
	info := &shellpb.InformationResponse{}
	return info, proto.Unmarshal(raw, info)
}

// Wake restores the image, or thaws a tree that sleeps in place, see shell.Process.
func (b *Backend) Wake(ctx context.Context) (shell.Information, error) {
	l := b.currentLife()
	wake := b.restoreAndDiscardImage
	if l.state == lifeFrozen {
		wake = b.thawInPlace
	}
	if err := wake(ctx, l); err != nil {
		return shell.Information{}, err
	}
	return b.information(), nil
}

// thawInPlace lets a tree that sleeps in place run again. After an error that does not wrap
// shell.ErrExited the tree sleeps on.
func (b *Backend) thawInPlace(_ context.Context, l life) error {
	if err := thaw(l.tree); err != nil {
		return err
	}
	l.state = lifeRunning
	b.setLife(l)
	return nil
}

// restoreAndDiscardImage restores the image, connects to the plugin and deletes the image.
// After an error the plugin sleeps on, unless the error wraps hibernate.ErrUsedUp: the image
// was used, and the tree may run on until Stop.
func (b *Backend) restoreAndDiscardImage(ctx context.Context, l life) error {
	if l.image == nil {
		var err error
		if l, err = b.readImageOfSleep(); err != nil {
			return err
		}
	}
	if err := b.checkCanWake(ctx, l.image); err != nil {
		return err
	}
	n, err := decodeImageNote(l.image)
	if err != nil {
		return fmt.Errorf("%w: %w", hibernate.ErrRefused, err)
	}
	if err := b.checkPlaces(n); err != nil {
		return err
	}
	b.takeStartOfImage(n)
	b.setLife(life{state: lifeWaking, image: l.image})
	t, err := b.restoreTree(ctx, l.image, n, phaseWaking)
	if err != nil {
		b.setLife(l)
		return errors.Join(err, b.removeJournalIfAny())
	}
	failpoint.Hit("wake.restored")
	err = b.reconnectAndFollowReports(ctx, t, afterRestoreRequest(l.image))
	failpoint.Hit("wake.connected")
	if derr := l.image.Discard(); derr != nil {
		b.log.Warn().Err(derr).Msg("could not remove an image that is no longer needed")
	}
	b.leaveWakingState()
	if err != nil {
		return fmt.Errorf("%w: %w", hibernate.ErrUsedUp, err)
	}
	return nil
}

// readImageOfSleep reads the image of a plugin that sleeps, which could not be read when the
// host started.
func (b *Backend) readImageOfSleep() (life, error) {
	image, err := b.imageDir.Image()
	if errors.Is(err, hibernate.ErrNoImage) {
		err = fmt.Errorf("%w: %w", hibernate.ErrUsedUp, err)
	}
	if err != nil {
		return life{}, err
	}
	l := life{state: lifeStored, image: image}
	b.inheritedImage = image
	b.setLife(l)
	return l, nil
}

// takeStartOfImage makes what the plugin in the image was started with that of the present
// plugin: the next host compares it, and a plugin whose sleep is outdated ends under the limits
// that it had.
func (b *Backend) takeStartOfImage(note imageNote) {
	if note.Configuration != "" {
		b.startedWith, b.startConfig.Limits = note.Configuration, note.Limits
	}
}

// errOutdated is why a plugin that an earlier host has put to sleep does not go on.
var errOutdated = errors.New("its configuration has changed since it went to sleep: what it is started with, its limits, or its own table")

// OutdatedSleep compares the image that an earlier host left with the present configuration,
// see shell.Process. What changes during this host's life is the matter of a reload.
func (b *Backend) OutdatedSleep() error {
	b.mu.Lock()
	image := b.life.image
	isInherited := image != nil && image == b.inheritedImage
	b.mu.Unlock()
	if !isInherited {
		return nil
	}
	note, _ := decodeImageNote(image) // a wake reports a note that can't be read
	if note.Configuration == "" || note.Configuration == checksumOfStartConfig(b.config()) {
		return nil
	}
	return errOutdated
}

// checkCanWake returns why no wake can succeed now, without touching anything: the image's
// key is missing, or the engine does not work or is still being tried.
func (b *Backend) checkCanWake(ctx context.Context, image *hibernate.Image) error {
	if err := image.CheckHostHasKey(); err != nil {
		return err
	}
	return b.host.Engine.Check(ctx)
}

// PutImageAside takes the image out of use, see shell.Process.
func (b *Backend) PutImageAside(class hibernate.FailureClass) (shell.KeptImage, error) {
	if l := b.currentLife(); l.state != lifeStored {
		return shell.KeptImage{}, nil
	}
	b.setLife(life{})
	return b.keepImageOutOfUse(class)
}

// PutImageBack lets the plugin sleep in an image that was put aside, see shell.Process. An
// image that still does not fit this host stays aside.
func (b *Backend) PutImageBack(generation uint64) (putBack uint64, err error) {
	if generation == 0 {
		if generation, err = b.imageDir.NewestAside(); err != nil {
			return 0, err
		}
	}
	aside, err := b.imageDir.Aside(generation)
	if err != nil {
		return 0, fmt.Errorf("generation %d is not aside: %w", generation, err)
	}
	if err := aside.CheckFitsHost(b.host.Engine); err != nil {
		return 0, fmt.Errorf("generation %d stays aside: %w", generation, err)
	}
	if err := b.imageDir.PutBack(generation); err != nil {
		return 0, err
	}
	image, err := b.imageDir.Image()
	if err != nil {
		_, kerr := b.keepImageOutOfUse(hibernate.ClassifyFailure(err))
		return 0, errors.Join(err, kerr)
	}
	b.setLife(life{state: lifeStored, image: image})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inheritedImage = image                             // its configuration may be another one by now
	if note, err := decodeImageNote(image); err == nil { // Wake reports a note that can't be read
		b.info, _ = parseInformation(note.Information)
	}
	return generation, nil
}

// keepImageOutOfUse moves the image of the instance aside, or into quarantine unless its
// class is Lasting.
func (b *Backend) keepImageOutOfUse(class hibernate.FailureClass) (shell.KeptImage, error) {
	put := b.imageDir.Quarantine
	if class == hibernate.Lasting {
		put = b.imageDir.PutAside
	}
	kept, err := put()
	return shell.KeptImage{Path: kept.Path, Until: kept.Until, Restorable: class == hibernate.Lasting}, err
}

// afterRestoreRequest returns the request that tells the plugin about its restore.
func afterRestoreRequest(image *hibernate.Image) *shellpb.AfterRestoreRequest {
	return &shellpb.AfterRestoreRequest{Generation: image.Generation, Slept: durationpb.New(image.Age())}
}

// restoreTree turns the image into a tree with new output, and keeps the plugin's
// description of itself from note. In the journal the restore has phase p. After an
// error nothing of the tree is left.
func (b *Backend) restoreTree(ctx context.Context, image *hibernate.Image, note imageNote, p phase) (*tree, error) {
	info, err := parseInformation(note.Information)
	if err != nil {
		return nil, err
	}
	if err := b.host.Remains.checkAndRelease(b.dirName); err != nil {
		return nil, err
	}
	if err := b.writeRestoreJournal(image, note, p); err != nil {
		return nil, err
	}
	failpoint.Hit("wake.begun")
	_ = os.Remove(note.Socket) // it is in the run directory, where no other process may have a socket
	var spare spareFiles
	defer func() { spare.close() }() // for the connection to the plugin
	t, err := b.startAndWatchTree(func(t *tree) error {
		t.bound, t.socket = note.Bound, note.Socket
		stdout, stderr := t.output.WriteEnds()
		root, loading, err := b.restoreRoot(ctx, image, hibernate.WakeOptions{
			Cgroup:    t.cgroup(),
			Files:     []hibernate.Inherited{{Key: note.Output.Stdout, File: stdout}, {Key: note.Output.Stderr, File: stderr}},
			Cleanup:   t.group.killAndRecreate,
			LoaderDir: b.loaderDir(note.Bound),
			BeforeUse: func(root *os.Process) (err error) {
				if t.pidfd, err = openPidfd(root.Pid); err == nil {
					spare, err = openSpareFiles()
				}
				return err
			},
		})
		if err == nil {
			t.imageBytes = image.StoredBytes()
			t.attachRestoredRootAndWatch(root, note.ProgramNSPid, loading)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b.setInformation(info)
	return t, nil
}

// minLazyBytes is the smallest image that wake = "auto" loads lazily.
const minLazyBytes = 32 << 20

// restoreRoot restores the image, lazily if the configuration asks for that and the engine
// can. loading is nil unless the wake is lazy.
func (b *Backend) restoreRoot(ctx context.Context, image *hibernate.Image, options hibernate.WakeOptions) (root *os.Process, loading hibernate.Loading, err error) {
	mode := b.config().Wake
	if mode == configs.WakeLazy || mode == configs.WakeAuto && image.Bytes >= minLazyBytes {
		root, loading, err = image.RestoreLazy(ctx, b.host.Engine, options)
		if !errors.Is(err, hibernate.ErrUnsupported) {
			return root, loading, err
		}
		b.log.Debug().Err(err).Msg("all memory is read before the wake")
	}
	root, err = image.Restore(ctx, b.host.Engine, options)
	return root, nil, err
}

// loadingName is the directory, in an instance's run directory, of a loading that can
// outlive the host.
const loadingName = "loading"

// loaderDir returns the directory of a loading that must outlive the host, "" when the host
// does not adopt plugins or the tree ends with the host.
func (b *Backend) loaderDir(treeEndsWithHost bool) string {
	if treeEndsWithHost || !b.host.Adopt {
		return ""
	}
	return filepath.Join(b.runDir(), loadingName)
}

// reconnectAndFollowReports connects to a plugin that was restored, or whose checkpoint
// failed, calls its AfterRestore, and begins to pass its reports on.
func (b *Backend) reconnectAndFollowReports(ctx context.Context, t *tree, request *shellpb.AfterRestoreRequest) error {
	if err := b.connectAndOpenHostSocket(ctx, t); err != nil {
		return err
	}
	if b.servesHooks() {
		if _, err := b.hooks.AfterRestore(ctx, request); err != nil {
			return fmt.Errorf("the plugin's AfterRestore failed: %w", b.waitForExitErrorOr(shellErrorFromGRPC(err)))
		}
	}
	b.startFollowingReports(ctx)
	return nil
}

// connectAndOpenHostSocket connects to a plugin that has been initialized before, and
// opens its host socket.
func (b *Backend) connectAndOpenHostSocket(ctx context.Context, t *tree) error {
	if err := b.dialAndRouteTo(ctx, t); err != nil {
		return b.waitForExitErrorOr(err)
	}
	return b.openHostSocket(t)
}
