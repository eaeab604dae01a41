package shell

import "context"

// Surroundings is what the rest of the host has to do with one instance. Its
// methods may be called with the instance's turn taken, and must not ask the
// shell for an operation of the same instance.
type Surroundings interface {
	// Missing returns nil when the instance, which says about of itself, may be
	// activated, or an error that wraps ErrPending and names what it waits for.
	Missing(about Information) error
	// Lost returns nil while the instance may stay active, or an error that wraps
	// ErrPending and names what it can't be without.
	Lost(about Information) error
	// Leaving is called before an active instance is deactivated, while it still
	// takes calls. It returns when whatever depends on the instance has ended, or
	// with ctx.
	Leaving(ctx context.Context)
}

// solitude is the surroundings of an instance that has none.
type solitude struct{}

func (solitude) Missing(Information) error { return nil }
func (solitude) Lost(Information) error    { return nil }
func (solitude) Leaving(context.Context)   {}
