package hibernate

import (
	"context"
	"io"
	"os"
)

// Engine turns a process tree into files and back. It knows nothing of
// plugins, manifests or states, and it judges no image.
type Engine interface {
	// Name is the engine with its version, such as "criu 4.2.1". An image is
	// restored by the one that made it.
	Name() string
	// Check proves with a real process that dump and restore work here. The
	// error wraps ErrUnsupported.
	Check(ctx context.Context) error
	// Dump writes the tree below d.PID into d.Dir. On success every task of the
	// tree is stopped and stays so until it gets SIGCONT or SIGKILL; on failure
	// the tree runs on as if nothing had happened.
	Dump(ctx context.Context, d Dump) error
	// Restore rebuilds a tree from r.Dir and returns its root, a child of this
	// process. Every task is stopped, as after Dump. After an error nothing of
	// the attempt runs any more.
	Restore(ctx context.Context, r Restore) (*os.Process, error)
}

// Foresight is an Engine that can tell what it could not dump. Its methods are quick
// and change nothing; what they name is certain, but they don't find all. Their
// errors wrap ErrObstacle.
type Foresight interface {
	// Obstacles looks at a tree that may be at work.
	Obstacles(tree []int) error
	// Strangers looks at one that is quiet: who is still connected then would be
	// lost.
	Strangers(tree []int) error
	// Losses looks at one that is stopped, as after Dump, for what it would wake up
	// without. What it can't tell is an error too, of another kind.
	Losses(tree []int) error
}

// Starter is an Engine that takes a while to start, and can do so before it is told
// what to do.
type Starter interface {
	// Start begins for one order with the same Cgroup and Files, and waits for
	// nothing. Whether it succeeds that order will tell.
	Start(cgroup string, files []Inherited) Started
}

// Started is an engine on its way.
type Started interface {
	// Close returns when nothing of it is left, whether it was given an order or not.
	Close()
}

// start has the engine begin to start if it can.
func start(e Engine, cgroup string, files []Inherited) Started {
	if s, ok := e.(Starter); ok {
		return s.Start(cgroup, files)
	}
	return notStarted{}
}

type notStarted struct{}

func (notStarted) Close() {}

// Dump is one order to an Engine.
type Dump struct {
	// PID of the root, which leads a session and a PID namespace of its own.
	PID int
	// Dir is empty and private.
	Dir string
	// Pages makes the files that hold memory and nothing that an engine would act on,
	// whose names begin with "pages-". Each is written in order, and closed before
	// the next one is made and before Dump returns. Writing waits where the memory
	// can't be stored as fast. With nil they are in Dir like all others.
	Pages func(name string) (io.WriteCloser, error)
	// Cgroup is the directory of the tree's own cgroup. The engine's processes
	// run in it too, so that one kill ends them all. May be empty.
	Cgroup string
	// Again tells that the tree will run on and the image be restored any number of
	// times, so that neither may use up what the other needs.
	Again bool
	// Started is used up by the order; without it the engine starts by itself. There
	// is none where Pages is.
	Started Started
}

// Restore is one order to an Engine.
type Restore struct {
	Dir     string
	Cgroup  string
	Started Started // as for a Dump
	// Provide puts a chunk of a page file into Dir, for RestoreLazy, where they are
	// empty at first; nil when they have their contents.
	Provide func(file string, index int64) error
	// Lasting is an empty directory in which other processes find a loading that goes
	// on when this one ends; "" for one that must not. It is empty again when all is
	// loaded.
	Lasting string
	// Files replaces what the tree held open outside of itself, such as its log
	// pipes.
	Files []Inherited
}

// Inherited hands File to the restored tree in place of what was known as Key
// ("pipe:[4711]") when it was dumped.
type Inherited struct {
	Key  string
	File *os.File
}
