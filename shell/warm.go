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
	from  *GoldenImage // the golden image, nil after a cold start
	begun time.Time
	// doubt is why a golden image failed its plugin: none is made again until a cold
	// start has lasted.
	doubt error
	told  string // why there is none, as the log has it
}

// startsWarm reports whether the plugin is to be started from a golden image.
func (s *Shell) startsWarm() bool { return s.process != nil && s.Config().WarmStart }

// startWarm tells whether the plugin runs, from its golden image. After an attempt
// that came to nothing all is as it was before, but for the image.
func (s *Shell) startWarm(ctx context.Context) bool {
	if !s.startsWarm() {
		return false
	}
	err := s.restore(ctx)
	if errors.Is(err, ErrCold) {
		return false
	}
	if err == nil {
		if err = s.startControl(ctx); err == nil {
			s.began()
			return true
		}
		err = errors.Join(err, s.backend.Stop(context.WithoutCancel(ctx)))
	}
	if ctx.Err() != nil {
		return false // which says nothing about the image
	}
	s.log.Warn().Err(err).Msg("could not start the plugin warm, starting it cold")
	s.distrust(err)
	s.startOver()
	return false
}

func (s *Shell) restore(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.StartWarm(ctx)
	if err == nil {
		s.setInformation(info)
		s.forgetMethods()
	}
	return err
}

// preserve makes the golden image of a plugin that Initialize has just returned
// from. One that does not survive it is launched once more.
func (s *Shell) preserve(ctx context.Context) error {
	if !s.startsWarm() {
		return nil
	}
	s.mu.Lock()
	wanted, told := s.warmth.doubt == nil, s.warmth.told
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
	s.warmth.told = text
	s.mu.Unlock()
	if !errors.Is(err, ErrExited) {
		return nil
	}
	s.setDoubt(err)
	if err := s.backend.Stop(ctx); err != nil {
		return err
	}
	s.startOver()
	if err := s.launch(ctx); err != nil {
		return err
	}
	s.process.SkipGolden()
	return nil
}

// began notes the beginning of a life, or its adoption.
func (s *Shell) began() {
	if !s.startsWarm() {
		return
	}
	from := s.process.StartedFrom()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmth.from, s.warmth.begun = from, time.Now()
}

// startOver makes the end of a process of this activation no news.
func (s *Shell) startOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.control = ""
}

// judge looks at a life that ends, for that cause or in order. One that began from
// a golden image and failed soon says that the image may be to blame; a cold one
// that lasted, that the plugin is not.
func (s *Shell) judge(cause error) {
	if !s.startsWarm() {
		return
	}
	window := time.Duration(s.Config().Restart.Window)
	s.mu.Lock()
	warm, lasted := s.warmth.from != nil, time.Since(s.warmth.begun) >= window
	if !warm && lasted {
		s.warmth.doubt = nil
	}
	s.mu.Unlock()
	if warm && cause != nil && (!lasted || errors.Is(cause, hibernate.ErrRefused)) {
		s.distrust(fmt.Errorf("the plugin failed within %s of a warm start: %w", window, cause))
	}
}

// distrust removes the golden image, which may be what is wrong with the plugin.
func (s *Shell) distrust(cause error) {
	s.process.InvalidateGolden(cause)
	s.setDoubt(cause)
}

func (s *Shell) setDoubt(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warmth.doubt = cause
}

// Golden is the golden image that the next life may begin from, or why there is
// none. Both are nil when none is wanted.
func (s *Shell) Golden() (*GoldenImage, error) {
	if !s.startsWarm() {
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

// failureOf is an end for that reason as an error, nil for one in order.
func failureOf(why Reason) error {
	switch why {
	case Failure, MemoryExceeded, WatchdogExpired:
		return fmt.Errorf("it was ended: %s", why)
	default:
		return nil
	}
}
