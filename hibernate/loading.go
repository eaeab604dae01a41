package hibernate

// Loading is memory on its way into a tree that runs already. A thread that touches memory
// that is not loaded yet waits for it; after a failure it waits until the tree is killed.
type Loading interface {
	// Done is closed when no more memory is loaded: all of it is in, the tree has ended,
	// or the loading has failed.
	Done() <-chan struct{}
	// Err returns why the loading failed, nil before Done and after a success.
	Err() error
	// Progress returns how many bytes are loaded, and how many there are.
	Progress() (done, total int64)
	// Hurry has the rest loaded as fast as possible.
	Hurry()
	// Leave ends this host's part in a lasting loading, which goes on without it: Done
	// is closed. See RestoreOrder.LoaderDir.
	Leave()
	// Close releases what the loading holds. It must not be called before Done unless
	// the tree is dead: memory that is missing then reads as zeros.
	Close()
}
