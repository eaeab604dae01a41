package supervisor

import (
	"time"

	"dormouse/configs"
)

// How soon a reload is repeated that could not end a sleeping plugin: after firstReloadRetry,
// then after twice as long each time, up to maxReloadRetry.
const (
	firstReloadRetry = 2 * time.Second
	maxReloadRetry   = time.Minute
)

// repeatReloadInBackground repeats a reload that was repeated retries times before, unless
// another Provide of the source comes first or the host stops. The caller has begun a change of
// the roster.
func (s *Supervisor) repeatReloadInBackground(source string, plugins []configs.Plugin, retries int) {
	number := s.provisions[source]
	s.startBackground(func() {
		late := time.NewTimer(min(firstReloadRetry<<min(retries, 10), maxReloadRetry))
		defer late.Stop()
		select {
		case <-late.C:
		case <-s.ctx.Done():
			return
		}
		done, err := s.waitAndBeginChange()
		if err != nil {
			return // the host stops
		}
		if s.provisions[source] != number {
			done()
			return
		}
		r, err := s.changeRosterAndRetryLater(s.ctx, source, plugins, retries+1)
		done()
		if err != nil {
			s.log.Warn().Err(err).Msg("could not repeat a reload")
			return
		}
		for _, line := range r.startNewInstances(s.ctx) {
			s.log.Info().Msg("repeated the reload: " + line)
		}
	})
}
