package hibernate

import (
	"encoding/json"
	"os"
)

// ChunkSize is how much of a page file is verified at once.
const ChunkSize = chunk

// Memory is the content of the page files of an image, of which no byte is handed
// out unverified. It may be used by several goroutines.
type Memory interface {
	// ReadChunk fills the buffer, of ChunkSize bytes, with a chunk of a file,
	// counted from 0, and returns the part that it filled: the last chunk is
	// shorter. The error is an ErrRefused when it is not what was dumped.
	ReadChunk(file string, index int64, buffer []byte) ([]byte, error)
	Close() error
}

// MovableMemory can be had by another process instead of this one.
type MovableMemory interface {
	Memory
	// Move returns what the other must know, which is secret, and the files that it
	// must have, which stay this one's.
	Move() (json.RawMessage, []*os.File, error)
}

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
