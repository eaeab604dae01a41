package criu

import (
	"time"

	"dormouse/hibernate/criu/pager"
)

// LoadOnDemand makes the engine load only memory that a thread waits for, until Hurry.
func (e *Engine) LoadOnDemand() { e.timing = pager.Timing{Quiet: time.Hour, Patience: time.Hour} }
