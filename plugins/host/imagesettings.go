package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/pack"
	"dormouse/supervisor"
)

// imageLimits returns how much disk space images may take, what happens when they would take
// more, and how many images are written at the same time.
func (h *Host) imageLimits(c configs.Hibernate) hibernate.Limits {
	l := hibernate.Limits{Budget: int64(c.Budget), Reserve: int64(c.Reserve), Parallel: c.Parallel}
	l.IsMissing = func(callsign string) bool { return h.Supervisor.IsMissing(callsign) }
	l.GoldenEvicted = func(golden hibernate.StoredImage, why error) {
		h.log.Warn().Str("callsign", golden.Callsign).AnErr("because", why).Msg("removed a golden image to make room, the next start is cold")
	}
	if l.Parallel == 0 {
		l.Parallel = runtime.NumCPU()
	}
	if c.OnBudget == configs.OnBudgetEvict {
		l.Evict = func(ctx context.Context, callsign string) error {
			sh, ok := h.Supervisor.Shell(callsign)
			why := fmt.Errorf("its image was the oldest when the budget of %s for images was used up", c.Budget)
			if !ok {
				h.log.Warn().Str("callsign", callsign).Msg("dropped the image of an instance that does not exist, to make room")
				err := h.Processes.Images.ImageDir(callsign).RemoveAll()
				h.Supervisor.NoteLoss(supervisor.Loss{Callsign: callsign, At: time.Now().Round(0).UTC(), Cause: why.Error()})
				return err
			}
			return sh.EvictImage(ctx, why)
		}
	}
	return l
}

// ErrNoImageKey means that images are to be encrypted and the host has no key for that.
var ErrNoImageKey = errors.New("cannot encrypt images: there is no key; set [hibernate] key-file, or systemd's LoadCredential=dormouse-image-key")

// readKeyAndSetPacking has new images encrypted and compressed as configured. The key
// also opens earlier images, so it is read even if new ones are not encrypted.
func readKeyAndSetPacking(images *hibernate.Store, c configs.Hibernate) error {
	p := pack.Options{Encrypt: c.Encrypt, Compress: c.Compress == configs.CompressZstd}
	switch {
	case c.KeyFile != "":
		var err error
		if p.Key, err = pack.ReadKey(c.KeyFile); err != nil {
			return err
		}
	case c.Encrypt:
		return ErrNoImageKey
	}
	images.SetPacking(p)
	return nil
}

// removeOldUnusableImages removes the images that no instance could wake for long enough, and
// logs which images it removed and which it kept. Images of instances that are missing stay.
func (h *Host) removeOldUnusableImages() {
	swept, err := h.Processes.Images.Sweep(hibernate.Sweeping{
		KeepFor: hibernate.KeepFor,
		IsKnown: func(callsign string) bool {
			_, ok := h.Supervisor.Shell(callsign)
			return ok
		},
		IsMissing: h.Supervisor.IsMissing,
		Now:       hibernate.CurrentMoment(),
	})
	if err != nil {
		h.log.Warn().Err(err).Msg("could not remove all images that can't be woken any more")
	}
	for _, one := range swept.Removed {
		h.log.Warn().Stringer("image", one).Time("written", one.Written).Msg("removed an image that can't be woken any more")
	}
	for _, one := range swept.Kept {
		h.log.Info().Stringer("image", one).Time("written", one.Written).Time("until", one.Until).Msg("keeping an image that can't be woken any more")
	}
}

// untoldLosses returns the losses that an earlier host was killed before it could record.
func (h *Host) untoldLosses() (losses []supervisor.Loss, err error) {
	images, err := h.Processes.Images.UntoldImages()
	for _, one := range images {
		l := supervisor.Loss{
			Callsign: one.Callsign, At: time.Now().Round(0).UTC(), Class: hibernate.Untrusted, Path: one.Path, Until: one.Until,
			Cause: "an earlier host gave it up, and ended before it could say why",
		}
		if one.Aside > 0 {
			l.Class, l.Generation, l.Restorable = hibernate.Lasting, one.Aside, true
		}
		losses = append(losses, l)
	}
	return losses, err
}
