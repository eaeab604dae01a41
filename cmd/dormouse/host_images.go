package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/pack"
)

// keepUnusable is how long an image stays that nobody can wake: someone may want
// to find out why, or have left its instance out of the configuration by mistake.
const unusableImageAge = 7 * 24 * time.Hour

// limits are what images may take.
func (h *host) imageLimits(c configs.Hibernate, images *hibernate.Store) hibernate.Limits {
	l := hibernate.Limits{Budget: int64(c.Budget), Reserve: int64(c.Reserve), Parallel: c.Parallel}
	l.GoldenEvicted = func(golden hibernate.Stored, why error) {
		h.log.Warn().Str("callsign", golden.Callsign).AnErr("because", why).Msg("removed a golden image to make room, the next start is cold")
	}
	if l.Parallel == 0 {
		l.Parallel = runtime.NumCPU()
	}
	if c.OnBudget == configs.OnBudgetEvict {
		l.Evict = func(ctx context.Context, callsign string, _ error) error {
			sh, ok := h.supervisor.Shell(callsign)
			if !ok {
				h.log.Warn().Str("callsign", callsign).Msg("dropped the image of an instance that does not exist, to make room")
				return images.ImageDir(callsign).RemoveAll()
			}
			return sh.Evict(ctx, fmt.Errorf("its image was the oldest when the budget of %s for images was used up", c.Budget))
		}
	}
	return l
}

// credential is the name of the key among systemd's credentials.
const credential = "dormouse-image-key"

// setPacking has images packed as configured. A key is of use for older images even
// if no new ones are encrypted.
func setPacking(images *hibernate.Store, c configs.Hibernate) error {
	path := c.KeyFile
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); path == "" && dir != "" {
		path = filepath.Join(dir, credential)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			path = ""
		}
	}
	p := pack.Options{Encrypt: c.Encrypt, Compress: c.Compress == configs.CompressZstd}
	switch {
	case path != "":
		var err error
		if p.Key, err = pack.ReadKey(path); err != nil {
			return err
		}
	case c.Encrypt:
		return errors.New("cannot encrypt images: there is no key; set [hibernate] key-file, or systemd's LoadCredential=" + credential)
	}
	images.SetPacking(p)
	return nil
}

// sweep removes images that nobody will wake, and tells of those that it left.
func (h *host) sweepImages(images *hibernate.Store) {
	swept, err := images.Sweep(unusableImageAge, func(callsign string) bool {
		_, ok := h.supervisor.Shell(callsign)
		return ok
	})
	if err != nil {
		h.log.Warn().Err(err).Msg("could not remove images that nobody can wake")
	}
	for _, one := range swept.Removed {
		h.log.Warn().Stringer("image", one).Time("written", one.Written).Msg("removed an image that nobody can wake")
	}
	for _, one := range swept.Kept {
		h.log.Info().Stringer("image", one).Time("written", one.Written).Msg("keeping an image that nobody can wake for a week")
	}
}
