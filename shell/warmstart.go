package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/timelimit"
	"dormouse/statecontrol"
)

// warmStartRecord is how the plugin was last started, and whether its golden images can be
// trusted. Shell.mu guards it.
type warmStartRecord struct {
	startedFrom *GoldenImage // nil after a cold start
	startedAt   time.Time
	// doubt is why the plugin failed after a warm start. While it is set no golden image
	// is made; a cold start that lasts clears it.
	doubt      error
	lastLogged string // why there was no golden image, when that was last logged
}

// wantsWarmStart reports whether the configuration asks for starts from a golden image;
// false for a built-in.
func (s *Shell) wantsWarmStart() bool { return s.process != nil && s.Config().WarmStart }

// tryWarmStart starts the plugin from its golden image, if the configuration asks for that
// and an image fits, and reports whether the plugin runs. After a failed attempt nothing of
// the plugin runs, and the golden image is removed unless ctx has ended.
func (s *Shell) tryWarmStart(ctx context.Context, control statecontrol.State) (started bool) {
	if !s.wantsWarmStart() {
		return false
	}
	err := s.restoreGolden(ctx)
	if errors.Is(err, ErrCold) {
		return false
	}
	if err == nil {
		if err = s.setControlAtStart(ctx, control); err == nil {
			s.recordStartForGoldenTrust()
			return true
		}
		err = errors.Join(err, s.backend.Stop(context.WithoutCancel(ctx)))
	}
	if ctx.Err() != nil {
		return false // the image is not to blame
	}
	s.log.Warn().Err(err).Msg("could not start the plugin warm, starting it cold")
	s.removeAndDistrustGolden(err)
	s.ignoreExitsOfEarlierProcess()
	return false
}

// restoreGolden restores the plugin from its golden image within the start timeout, and
// keeps the plugin's description of itself. The error wraps ErrCold if no image fits.
func (s *Shell) restoreGolden(ctx context.Context) error {
	ctx, cancel := timelimit.With(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.StartWarm(ctx)
	if err == nil {
		s.setInformation(info)
	}
	return err
}

// makeGoldenOrRelaunch makes a golden image of the plugin right after Initialize, if one
// is wanted and images are not in doubt. A failure is only logged. A plugin that does
// not survive the attempt is launched once more. After an error the plugin may not run.
func (s *Shell) makeGoldenOrRelaunch(ctx context.Context) error {
	if !s.wantsWarmStart() {
		return nil
	}
	s.mu.Lock()
	doubt := s.warmStarts.doubt
	s.mu.Unlock()
	if doubt != nil {
		s.process.SkipGolden(ctx)
		s.logNewGoldenFailure(nil)
		if ctx.Err() != nil {
			return timelimit.EndError(ctx)
		}
		return nil
	}
	limited, cancel := timelimit.With(ctx, s.hibernateTimeLimit)
	defer cancel()
	err := s.process.MakeGolden(limited)
	if ctx.Err() != nil {
		return timelimit.EndError(ctx)
	}
	s.logNewGoldenFailure(err)
	if !errors.Is(err, ErrExited) {
		return nil
	}
	s.distrustNewGoldens(err)
	if err := s.backend.Stop(ctx); err != nil {
		return err
	}
	s.ignoreExitsOfEarlierProcess()
	if err := s.launchAndInitialize(ctx); err != nil {
		return err
	}
	s.process.SkipGolden(ctx)
	return nil
}

// logNewGoldenFailure logs why no golden image could be made, unless the same error was
// logged last. err is nil if there was no failure; the next one is then logged in any
// case.
func (s *Shell) logNewGoldenFailure(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	s.mu.Lock()
	before := s.warmStarts.lastLogged
	s.warmStarts.lastLogged = text
	s.mu.Unlock()
	if err != nil && text != before {
		s.log.Warn().Err(err).Msg("the plugin has no golden image, and later starts are cold")
	}
}

// recordStartForGoldenTrust records when the plugin started and from which golden image, for
// updateGoldenTrustAtEnd. It does nothing without warm starts.
func (s *Shell) recordStartForGoldenTrust() {
	if !s.wantsWarmStart() {
		return
	}
	from := s.process.StartedFrom()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmStarts.startedFrom, s.warmStarts.startedAt = from, time.Now()
}

// ignoreExitsOfEarlierProcess makes the shell ignore reports of the end of processes
// that were started before, and clears the state of their state control.
func (s *Shell) ignoreExitsOfEarlierProcess() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.control = ""
}

// updateGoldenTrustAtEnd judges the plugin's start when the plugin ends because of
// failure, which is nil for an end in order. A plugin that fails within the restart
// window of a warm start loses its golden image, and so does one whose image was refused
// while its memory was loaded. A cold start that lasted for the window clears earlier
// doubt.
func (s *Shell) updateGoldenTrustAtEnd(failure error) {
	if !s.wantsWarmStart() {
		return
	}
	window := time.Duration(s.Config().Restart.Window)
	s.mu.Lock()
	warm, lasted := s.warmStarts.startedFrom != nil, time.Since(s.warmStarts.startedAt) >= window
	if !warm && lasted {
		s.warmStarts.doubt = nil
	}
	s.mu.Unlock()
	if warm && failure != nil && (!lasted || errors.Is(failure, hibernate.ErrRefused)) {
		s.removeAndDistrustGolden(fmt.Errorf("the plugin failed within %s of a warm start: %w", window, failure))
	}
}

// removeAndDistrustGolden removes the golden image because of why, and makes none until
// a cold start has lasted.
func (s *Shell) removeAndDistrustGolden(why error) {
	s.process.InvalidateGolden(why)
	s.distrustNewGoldens(why)
}

// distrustNewGoldens records why no golden image is made until a cold start has lasted, see
// warmStartRecord.
func (s *Shell) distrustNewGoldens(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmStarts.doubt = why
}

// GoldenImage returns the golden image that the next start may use, or nil and why there is
// none. Both are nil if the instance is not started warm.
func (s *Shell) GoldenImage() (image *GoldenImage, whyNone error) {
	if !s.wantsWarmStart() {
		return nil, nil //nolint:nilnil // both nil is documented
	}
	image, whyNone = s.process.GoldenImage()
	s.mu.Lock()
	defer s.mu.Unlock()
	if whyNone != nil && s.warmStarts.doubt != nil {
		whyNone = fmt.Errorf("none is made before a cold start has lasted %s: %w", s.Config().Restart.Window, s.warmStarts.doubt)
	}
	return image, whyNone
}
