package hibernate

import (
	"context"
	"io"
	"os"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// Engine turns a process tree into files and back. It knows nothing of plugins,
// manifests or states, and does not decide whether an image may be used. A fake that
// has only some of its powers embeds hibernatetest.EngineDefaults.
type Engine interface {
	// Name returns the name and version of the engine, such as "criu 4.2.1". Only
	// the engine that made an image, in the same version, may restore it.
	Name() string
	// Check proves with a real process that dump and restore work here. The
	// error wraps ErrUnsupported.
	Check(ctx context.Context) error

	// ObstaclesAnyTime returns an ErrObstacle for something in the tree that cannot be
	// dumped. The tree may be running.
	ObstaclesAnyTime(treePIDs []int) error
	// ObstaclesWhenQuiet returns an ErrObstacle for a connection to a process outside of
	// the tree, and for data that was not read yet. A tree at work has both; a dump of a
	// quiet tree would lose them.
	ObstaclesWhenQuiet(treePIDs []int) error
	// ObstaclesWhenStopped returns an ErrObstacle for something that the tree would lack
	// after a wake, and another error if that can't be found out. The tree is stopped,
	// as after Dump.
	ObstaclesWhenStopped(treePIDs []int) error

	// Prestart begins to start the engine for one later order with the same Cgroup and
	// Files, and waits for nothing. If the start fails, that order returns the error.
	Prestart(group cgroup.Dir, files []Inherited) Prestarted
	// Dump writes the tree below d.PID into d.Dir. After success every process of the
	// tree is stopped until it gets SIGCONT or SIGKILL; after an error the tree runs
	// on as before.
	Dump(ctx context.Context, d DumpOrder) error
	// ThreadIdentities returns the identity and rights that the image in imageDir would
	// give each thread, ordered by ID. An engine that cannot read its images returns
	// ErrUnsupported.
	ThreadIdentities(imageDir string) ([]procfs.ThreadIdentity, error)
	// StoppedProcesses returns the processes in the image in imageDir that were stopped
	// before the Dump stopped the tree, by their numbers in their own PID namespace.
	StoppedProcesses(imageDir string) (nsPIDs []int, err error)
	// Restore rebuilds a tree from r.Dir and returns its root, a child of this
	// process. Every process is stopped, as after Dump. After an error no process of
	// the attempt runs any more.
	Restore(ctx context.Context, r RestoreOrder) (root *os.Process, err error)
	// RestoreLazy is like Restore, except that m delivers the memory: each page when
	// the tree touches it, and all other pages meanwhile, in order. What the engine
	// itself fills in has been read from m when RestoreLazy returns. The engine closes
	// m when it needs no more of it, also after an error. The error wraps
	// ErrUnsupported, and nothing was tried, if only Restore is possible.
	RestoreLazy(ctx context.Context, r RestoreOrder, m Memory) (root *os.Process, loading Loading, err error)
	// RejoinLoading takes over the loading that another process runs in loaderDir, the
	// LoaderDir of a RestoreOrder. It returns nil if all memory is loaded. After an
	// error the caller must kill the tree, because its missing memory will never come.
	RejoinLoading(loaderDir string) (unfinished Loading, err error)
}

// Prestarted is an engine process that was started before its order is known.
type Prestarted interface {
	// Close returns when the process has ended, whether it was given an order or not.
	Close()
}

// Loading is memory on its way into a tree that runs already. A thread that touches memory
// that is not loaded yet waits for it; after a failure it waits until the tree is killed.
type Loading interface {
	// Done is closed when no more memory is loaded: all of it is in, the tree has ended,
	// or the loading has failed.
	Done() <-chan struct{}
	// Err returns why the loading failed, nil before Done and after a success.
	Err() error
	// Progress returns how many bytes are loaded, and how many there are.
	Progress() (loadedBytes, totalBytes int64)
	// BytesRead returns how many bytes of the image on disk were read so far, as that of
	// Memory does. It may be called after Close.
	BytesRead() int64
	// Hurry has the rest of the memory loaded as fast as possible.
	Hurry()
	// Leave ends this host's part in a loading that has a LoaderDir, and closes Done.
	// Another process goes on with the loading.
	Leave()
	// Close releases what the loading holds. It must not be called before Done unless
	// the tree is dead: memory that is missing then reads as zeros.
	Close()
}

// DumpOrder says what an Engine dumps, and where its image is written.
type DumpOrder struct {
	// PID is the process id of the root, which leads a session and a PID namespace of
	// its own.
	PID int
	// Dir is the directory for the image's files. It is empty and private.
	Dir string
	// ID is what no other image has.
	ID string
	// WillKeep is told the paths of all links to files that the image needs, before the
	// engine makes them beside these files. They are the image's: its owner removes them
	// when the image is used or deleted. If WillKeep returns an error the dump fails.
	WillKeep func(links []string) error
	// Pages creates the files that hold the tree's memory and nothing that an engine
	// interprets; their names begin with "pages-". The engine writes each of them in
	// order, and closes it before it creates the next one and before Dump returns.
	// Writing blocks while the memory cannot be stored as fast. If Pages is nil these
	// files are in Dir like all others.
	Pages func(name string) (io.WriteCloser, error)
	// Cgroup is the directory of the tree's own cgroup, or "". The engine's processes
	// run in that cgroup too, so that one kill ends them all.
	Cgroup cgroup.Dir
	// Reusable means that the tree will run on and that the image may be restored any
	// number of times: no restore may use up what the tree or another restore needs.
	Reusable bool
	// Prestarted is the engine process for this order alone; if it is nil the order
	// starts one. It is always nil if Pages is set.
	Prestarted Prestarted
}

// RestoreOrder says which image an Engine restores, and what the tree gets.
type RestoreOrder struct {
	// Dir is the directory with the image's files.
	Dir string
	// ID is that of the DumpOrder.
	ID string
	// Cgroup is the cgroup in which the tree and the engine run, or "" for the host's.
	Cgroup     cgroup.Dir
	Prestarted Prestarted // as in DumpOrder
	// ProvideChunk writes a chunk of a page file into Dir, for RestoreLazy of a packed
	// image, whose page files are empty at first. It is nil if they have their contents.
	ProvideChunk func(file string, chunk int64) error
	// LoaderDir is a directory, empty or still to be made, in which a later host finds a
	// loading that goes on after this process has ended; "" for a loading that ends with
	// this process. The directory is empty again when all memory is loaded.
	LoaderDir string
	// Files replaces what the tree held open outside of itself, such as its log
	// pipes.
	Files []Inherited
}

// Inherited hands File to the restored tree in place of the file that Key names
// ("pipe:[4711]") in the image.
type Inherited struct {
	Key  string
	File *os.File
}
