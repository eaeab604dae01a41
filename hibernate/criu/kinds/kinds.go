// Package kinds is the list of what a process tree may hold when it goes to sleep: each
// kind of descriptor, mapping, socket and attribute of a process or thread, and what a
// sleep does to it. The package does not know how a kind is recognized, or how a tree is
// dumped.
package kinds

// Fate is what a sleep does to the objects of a kind. Its value is the word of the docs.
type Fate string

// The fates.
const (
	// ComesBack means that CRIU restores the object, so that the program sees no difference.
	ComesBack Fate = "comes back"
	// BroughtBack means that CRIU leaves something of the object out, and the host sets it
	// again while the restored tree is stopped.
	BroughtBack Fate = "we bring it back"
	// Refused means that a tree that holds the object is not dumped. The error names the
	// process, the object and what to do.
	Refused Fate = "refused by name"
	// Lost means that the tree sleeps, and wakes up without the object. The docs say so.
	Lost Fate = "lost"
)

// Kind is the key of a Row, such as "eventfd".
type Kind string

// Row says what a sleep does to one kind of object.
type Row struct {
	Kind Kind
	Fate Fate
	// Text names the kind in the docs, and says what a program must know about it.
	Text string
	// Name is how an error calls the object, with its article: "a pipe in packet mode". For
	// an attribute of a process it is a verb phrase: "is being traced". It is "" unless
	// Fate is Refused.
	Name string
	// Advice says in an error what to do about the object, "" unless Fate is Refused.
	Advice string
	// Passing means that a refused object may be gone a moment later, so that another
	// attempt may succeed.
	Passing bool
	// OnlyStopped means that a refused object is found only when the tree is stopped.
	OnlyStopped bool
}

// Table is a list of rows, no two of one kind.
type Table []Row

// Find returns the row of the kind, and isKnown = false if the table has none.
func (t Table) Find(kind Kind) (row Row, isKnown bool) {
	for _, r := range t {
		if r.Kind == kind {
			return r, true
		}
	}
	return Row{}, false
}

// Without returns the table without the row of the kind.
func (t Table) Without(kind Kind) Table {
	var rest Table
	for _, r := range t {
		if r.Kind != kind {
			rest = append(rest, r)
		}
	}
	return rest
}

// All returns the whole table, in the order of the docs within each fate.
func All() Table {
	var all Table
	for _, part := range []Table{files, events, sockets, memory, processes, threads, times} {
		all = append(all, part...)
	}
	return all
}

// Advice that several rows give.
const (
	reopen    = "close it in BeforeCheckpoint and open it again in AfterRestore"
	closeIt   = "close it in BeforeCheckpoint"
	orPageOut = "or let it be paged out"
)
