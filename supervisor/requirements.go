package supervisor

import (
	"context"

	"dormouse/configs"
	"dormouse/shell"
)

// requirements checks the requirements of one instance, see shell.Requirements.
type requirements struct {
	s        *Supervisor
	callsign string
}

// MayActivate returns an error that names the missing requirements.
func (r requirements) MayActivate(about shell.Information) error {
	return r.s.conditions.missingRequirements(r.config(), about)
}

// MayStayActive returns nil while the host stops, since then the host ends all instances in
// its own order.
func (r requirements) MayStayActive(about shell.Information) error {
	if r.s.isStopping() {
		return nil
	}
	return r.s.conditions.lostRequirements(r.config(), about)
}

// config returns the configuration of the instance as it is now.
func (r requirements) config() configs.Plugin {
	if sh, ok := r.s.Shell(r.callsign); ok {
		return sh.Config()
	}
	return configs.Plugin{}
}

// EndDependants deactivates the subsystems of an instance that is about to end, and returns
// when its dependants have ended or ctx has.
func (r requirements) EndDependants(ctx context.Context) {
	s := r.s
	s.conditions.setPresent(r.callsign, false)
	s.dropSubsystems(r.callsign)
	dependants := s.recordDependants(r.callsign)
	defer s.departures.doneWaiting(r.callsign)
	ended := make(chan struct{}, len(dependants))
	for _, sh := range dependants {
		if !s.startBackground(func() {
			if err := sh.DeactivateIfRequirementsLost(ctx); err != nil {
				s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msgf("did not end before %s", r.callsign)
			}
			ended <- struct{}{}
		}) {
			return
		}
	}
	for range dependants {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}
