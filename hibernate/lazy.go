package hibernate

// Loading is memory on its way into a tree. As long as it is missing there,
// whoever touches it waits: after a failure until the tree is killed.
type Loading interface {
	// Done is closed when nothing more is loaded: all is in, the tree has ended,
	// or the loading has failed.
	Done() <-chan struct{}
	// Err is why it failed, nil before Done and when it did not.
	Err() error
	// Progress counts bytes.
	Progress() (done, total int64)
	// Hurry has the rest loaded without regard to anything else.
	Hurry()
	// Leave lets go of a lasting loading, which goes on: it is Done for this
	// process. See Restore.Lasting.
	Leave()
	// Close gives back what the loading held. It must not be called before Done
	// unless the tree is dead: memory that is missing then reads as zeros.
	Close()
}
