package supervisor

import (
	"errors"
	"fmt"
)

// PutVirtualsBack makes the virtual plugins of a parent, which need not exist, what they were when
// KeptVirtualsOf returned kept: those that came since are removed with all that is kept of them,
// those that were removed or changed are as before. One whose callsign another has taken is left
// out, which is logged. It can be repeated.
func (s *Supervisor) PutVirtualsBack(parent string, kept []Virtual) error {
	done, err := s.waitAndBeginVirtualChange()
	if err != nil {
		return fmt.Errorf("cannot put the virtual plugins of %s back: %w", parent, err)
	}
	defer done()
	wanted := make(map[string]bool)
	for _, v := range kept {
		wanted[v.Callsign] = true
	}
	for _, v := range s.virtuals.of(parent) {
		if !wanted[v.Callsign] {
			err = errors.Join(err, s.removeVirtual(parent, v.Callsign))
		}
	}
	for _, v := range kept {
		err = errors.Join(err, s.putVirtualBack(v))
	}
	if err != nil {
		return fmt.Errorf("cannot put the virtual plugins of %s back: %w", parent, err)
	}
	return nil
}

// putVirtualBack makes a virtual plugin what it was. The caller has begun a change of virtual
// plugins.
func (s *Supervisor) putVirtualBack(v Virtual) error {
	before, is := s.virtuals.find(v.Callsign)
	if is && before.Parent == v.Parent {
		return s.changeVirtual(before, v)
	}
	if err := s.roster.takenError(v.Callsign); err != nil || is {
		s.log.Error().Err(err).Str("callsign", v.Callsign).Str("parent", v.Parent).Msg("a virtual plugin is not put back, another instance has its callsign")
		return nil
	}
	if err := s.virtuals.put(v); err != nil {
		return err
	}
	if parent, ok := s.Shell(v.Parent); ok {
		s.attachVirtual(v, parent)
	}
	return nil
}
