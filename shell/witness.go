package shell

// document lets the host look at a plugin before it is cleared away.
func (s *Shell) document(why Reason, err error) {
	if s.postMortem == nil {
		return
	}
	s.postMortem(why, err, func() Evidence {
		if witness, ok := s.backend.(Witness); ok {
			return witness.Evidence()
		}
		return Evidence{}
	})
}
