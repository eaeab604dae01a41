package shell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/hibernate"
)

// warmth is how the plugin's present life began, and what that says of later ones.
type warmth struct {
	startedFrom *GoldenImage // the golden image, nil after a cold start
	startedAt   time.Time
	// doubt is why a golden image failed its plugin: none is made again until a cold
	// start has lasted.
	doubt      error
	lastLogged string // why there is none, as the log has it
}

// wantsWarmStart reports whether the plugin is to be started from a golden image.
func (s *Shell) wantsWarmStart() bool { return s.process != nil && s.Config().WarmStart }

// tryWarmStart tells whether the plugin runs, from its golden image. After an attempt
// that came to nothing all is as it was before, but for the image.
func (s *Shell) tryWarmStart(ctx context.Context) bool {
	if !s.wantsWarmStart() {
		return false
	}
	err := s.restoreGolden(ctx)
	if errors.Is(err, ErrCold) {
		return false
	}
	if err == nil {
		if err = s.startStateControl(ctx); err == nil {
			s.noteStart()
			return true
		}
		err = errors.Join(err, s.backend.Stop(context.WithoutCancel(ctx)))
	}
	if ctx.Err() != nil {
		return false // which says nothing about the image
	}
	s.log.Warn().Err(err).Msg("could not start the plugin warm, starting it cold")
	s.invalidateGolden(err)
	s.ignoreEarlierExits()
	return false
}

func (s *Shell) restoreGolden(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.StartWarm(ctx)
	if err == nil {
		s.setInformation(info)
		s.forgetMethods()
	}
	return err
}

// makeGolden makes the golden image of a plugin that Initialize has just returned
// from. One that does not survive it is launched once more.
func (s *Shell) makeGolden(ctx context.Context) error {
	if !s.wantsWarmStart() {
		return nil
	}
	s.mu.Lock()
	wanted, told := s.warmth.doubt == nil, s.warmth.lastLogged
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, s.hibernateLimit)
	defer cancel()
	var err error
	if wanted {
		err = s.process.MakeGolden(limited)
	} else {
		s.process.SkipGolden()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != told && err != nil { // it may be the same each time
		s.log.Warn().Err(err).Msg("the plugin has no golden image, and later starts are cold")
	}
	s.mu.Lock()
	s.warmth.lastLogged = text
	s.mu.Unlock()
	if !errors.Is(err, ErrExited) {
		return nil
	}
	s.setGoldenDoubt(err)
	if err := s.backend.Stop(ctx); err != nil {
		return err
	}
	s.ignoreEarlierExits()
	if err := s.launchAndInitialize(ctx); err != nil {
		return err
	}
	s.process.SkipGolden()
	return nil
}

// noteStart notes the beginning of a life, or its adoption.
func (s *Shell) noteStart() {
	if !s.wantsWarmStart() {
		return
	}
	from := s.process.StartedFrom()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmth.startedFrom, s.warmth.startedAt = from, time.Now()
}

// ignoreEarlierExits makes the end of a process of this activation no news.
func (s *Shell) ignoreEarlierExits() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.control = ""
}

// reviewWarmStart looks at a life that ends, for that cause or in order. One that began from
// a golden image and failed soon says that the image may be to blame; a cold one
// that lasted, that the plugin is not.
func (s *Shell) reviewWarmStart(cause error) {
	if !s.wantsWarmStart() {
		return
	}
	window := time.Duration(s.Config().Restart.Window)
	s.mu.Lock()
	warm, lasted := s.warmth.startedFrom != nil, time.Since(s.warmth.startedAt) >= window
	if !warm && lasted {
		s.warmth.doubt = nil
	}
	s.mu.Unlock()
	if warm && cause != nil && (!lasted || errors.Is(cause, hibernate.ErrRefused)) {
		s.invalidateGolden(fmt.Errorf("the plugin failed within %s of a warm start: %w", window, cause))
	}
}

// invalidateGolden removes the golden image, which may be what is wrong with the plugin.
func (s *Shell) invalidateGolden(cause error) {
	s.process.InvalidateGolden(cause)
	s.setGoldenDoubt(cause)
}

func (s *Shell) setGoldenDoubt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmth.doubt = cause
}

// Golden is the golden image that the next life may begin from, or why there is
// none. Both are nil when none is wanted.
func (s *Shell) Golden() (*GoldenImage, error) {
	if !s.wantsWarmStart() {
		return nil, nil //nolint:nilnil // as said
	}
	image, why := s.process.Golden()
	s.mu.Lock()
	defer s.mu.Unlock()
	if why != nil && s.warmth.doubt != nil {
		why = fmt.Errorf("none is made before a cold start has lasted %s: %w", s.Config().Restart.Window, s.warmth.doubt)
	}
	return image, why
}

// failureError is an end for that reason as an error, nil for one in order.
func failureError(why Reason) error {
	switch why {
	case Failure, MemoryExceeded, WatchdogExpired:
		return fmt.Errorf("it was ended: %s", why)
	default:
		return nil
	}
}
