package supervisor

import (
	"errors"
	"fmt"
)

// PutVirtualsBack makes the virtual plugins of a parent, which need not exist, what they were when
// KeptVirtualsOf returned kept: those that came since are removed with all that is kept of them,
// those that were removed or changed are as before. One whose callsign another has taken is left
// out, which is logged; taken are the callsigns of these. It can be repeated.
func (s *Supervisor) PutVirtualsBack(parent string, kept []Virtual) (taken []string, err error) {
	done, err := s.waitAndBeginVirtualChange()
	if err != nil {
		return nil, fmt.Errorf("cannot put the virtual plugins of %s back: %w", parent, err)
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
		if s.isOfAnother(v) {
			s.log.Error().Str("callsign", v.Callsign).Str("parent", v.Parent).Msg("a virtual plugin is not put back, another instance has its callsign")
			taken = append(taken, v.Callsign)
			continue
		}
		err = errors.Join(err, s.putVirtualBack(v))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot put the virtual plugins of %s back: %w", parent, err)
	}
	return taken, nil
}

// isOfAnother reports whether the callsign of a virtual plugin is that of another instance, or is
// kept for another parent's.
func (s *Supervisor) isOfAnother(v Virtual) bool {
	if now, is := s.virtuals.findEqualFold(v.Callsign); is && (now.Callsign != v.Callsign || now.Parent != v.Parent) {
		return true
	}
	return s.ParentOf(v.Callsign) != v.Parent && s.roster.takenError(v.Callsign) != nil
}

// putVirtualBack makes a virtual plugin what it was, whose callsign is free or its own. The caller has begun a change of virtual
// plugins.
func (s *Supervisor) putVirtualBack(v Virtual) error {
	if before, is := s.virtuals.find(v.Callsign); is {
		return s.changeVirtual(before, v)
	}
	if err := s.virtuals.put(v); err != nil {
		return err
	}
	if parent, ok := s.Shell(v.Parent); ok {
		s.attachVirtual(v, parent)
	}
	return nil
}
