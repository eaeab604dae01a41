package process

import (
	"dormouse/hibernate"
	"dormouse/shell"
)

// lifeState says whether the plugin has processes, an image, both or neither, and whether
// the processes sleep.
type lifeState int

const (
	lifeNone    lifeState = iota // neither processes nor an image
	lifeRunning                  // processes
	lifeFrozen                   // processes that sleep in place
	lifeStored                   // an image
	lifeWaking                   // an image, and processes once it is restored
)

// life is what exists of the plugin now. A Backend replaces it as a whole, under mu.
type life struct {
	state lifeState
	// tree is set in lifeRunning and lifeFrozen, and in lifeWaking after the restore.
	tree *tree
	// link is the connection to the tree, nil while there is none.
	link *link
	// image is set in lifeStored and lifeWaking, except for one that could not be read when
	// the host started.
	image *hibernate.Image
	// sleep describes the sleep in lifeFrozen.
	sleep shell.Sleep
}

// currentLife returns what exists of the plugin now.
func (b *Backend) currentLife() life {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.life
}

// setLife replaces what exists of the plugin, and returns what existed before.
func (b *Backend) setLife(now life) (before life) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, b.life = b.life, now
	return before
}

// setRunningTree adds a tree that has just got its processes. The state is then
// lifeRunning, or still lifeWaking during a wake.
func (b *Backend) setRunningTree(t *tree) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life.state != lifeWaking {
		b.life.state = lifeRunning
	}
	b.life.tree = t
}

// leaveWakingState leaves lifeWaking, without the image: for lifeRunning if the restore
// made a tree, else for lifeNone.
func (b *Backend) leaveWakingState() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.life.state, b.life.image = lifeNone, nil
	if b.life.tree != nil {
		b.life.state = lifeRunning
	}
}

// Sleep describes the plugin's sleep, also during a wake from an image, see shell.Process.
func (b *Backend) Sleep() *shell.Sleep {
	switch l := b.currentLife(); l.state {
	case lifeFrozen:
		return &l.sleep
	case lifeStored, lifeWaking:
		i := l.image
		if i == nil {
			return &shell.Sleep{Kind: shell.Stored}
		}
		return &shell.Sleep{Kind: shell.Stored, Engine: i.Engine, Bytes: i.StoredBytes(), Since: i.Created, Generation: i.Generation}
	default:
		return nil
	}
}
