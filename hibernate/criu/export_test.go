package criu

import (
	"time"

	"dormouse/hibernate/criu/pager"
)

// Hold has the engine bring no memory in that nobody waits for, until it is told
// to hurry.
func (e *Engine) Hold() { e.timing = pager.Timing{Quiet: time.Hour, Patience: time.Hour} }
