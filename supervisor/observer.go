package supervisor

import "dormouse/shell"

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
	case t.To.IsInSleepCycle():
	default:
		s.conditions.setPresent(t.Callsign, false)
		s.dropSubsystems(t.Callsign)
		s.followConditions()
	}
}
