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

func (h requirements) MayActivate(about shell.Information) error {
	return h.s.conditions.missingRequirements(h.config(), about)
}

// MayStayActive returns nil while the host stops, since then the host ends all instances in
// its own order.
func (h requirements) MayStayActive(about shell.Information) error {
	if h.s.isStopping() {
		return nil
	}
	return h.s.conditions.lostRequirements(h.config(), about)
}

func (h requirements) config() configs.Plugin {
	if sh, ok := h.s.Shell(h.callsign); ok {
		return sh.Config()
	}
	return configs.Plugin{}
}

// EndDependants deactivates the subsystems of an instance that is about to end, and returns
// when its dependants have ended or ctx has.
func (h requirements) EndDependants(ctx context.Context) {
	s := h.s
	s.conditions.setPresent(h.callsign, false)
	s.dropSubsystems(h.callsign)
	dependants := s.recordDependants(h.callsign)
	defer s.departures.doneWaiting(h.callsign)
	ended := make(chan struct{}, len(dependants))
	for _, sh := range dependants {
		if !s.startBackground(func() {
			if err := sh.DeactivateIfRequirementsLost(ctx); err != nil {
				s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msgf("did not end before %s", h.callsign)
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

// observer is the host as its instances report to it.
type observer struct{ s *Supervisor }

func (o observer) Notification(callsign string, n shell.Notification) {
	o.s.events.Notification(callsign, n)
}

func (o observer) Transition(t shell.Transition) {
	s := o.s
	s.events.Transition(t)
	s.restarts.onTransition(t)
	s.autoSleep.onTransition(t)
	switch {
	case t.From == t.To:
	case t.To == shell.Activated:
		s.conditions.setPresent(t.Callsign, true)
		s.followConditions()
	case t.To.IsAsleep():
	default:
		s.conditions.setPresent(t.Callsign, false)
		s.dropSubsystems(t.Callsign)
		s.followConditions()
	}
}
