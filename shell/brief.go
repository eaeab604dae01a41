package shell

// Brief is Status without what has to be looked up: facts, image and progress.
// The last element of its history is the transition that led to it.
func (s *Shell) Brief() Status {
	st, _ := s.recorded()
	return st
}

// Notify sends an event to the instance's subscribers, as its backend's Sink
// does.
func (s *Shell) Notify(n Notification) { sink{s}.Notify(n) }
