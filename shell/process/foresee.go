package process

import (
	"dormouse/hibernate"
	"dormouse/shell"
)

var _ shell.Foreseer = (*Backend)(nil)

// Foresee tells what would stop a hibernation, see shell.Foreseer.
func (b *Backend) Foresee() error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t == nil {
		return nil
	}
	return hibernate.Preflight(b.host.Engine, b.slot, t.root.Pid)
}
