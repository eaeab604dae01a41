package shell

// Foreseer is a Backend that can tell what would stop a hibernation before it is
// tried.
type Foreseer interface {
	// Foresee looks at the running plugin and changes nothing. What it names is
	// certain, but it does not find all. The error wraps hibernate.ErrObstacle, or
	// says what else is missing; nil when nothing runs.
	Foresee() error
}

// Foresee tells what would stop a hibernation now, nil for nothing that is known.
// It waits for no operation and wakes nothing.
func (s *Shell) Foresee() error {
	if s.hibernator == nil {
		return ErrInProcess
	}
	f, ok := s.backend.(Foreseer)
	if !ok || s.State() != Activated {
		return nil
	}
	if err := f.Foresee(); s.State() == Activated { // what was found may be half of an end
		return err
	}
	return nil
}
